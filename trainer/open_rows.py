"""The rows of shards in the order of an epoch: cut, hashed and sorted when a plan first needs them.

In: (shard, epoch) pairs. Out: tables of their rows, of which a window takes a part. Lengths of
documents only, never a token. All pairs that are missing are cut in one go, so that 1,833 small
shards cost no more than one large; what was used longest ago is dropped beyond a bound.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UserError
from schemas.keyed import U64
from schemas.manifest import Manifest
from schemas.rows import I64, cut
from schemas.store import Store
from trainer.by_hash import by_group_and_hash
from trainer.excluded import Excluded
from trainer.open_shards import OpenShards
from trainer.order import row_hashes, tail_keys
from trainer.pack import I32
from trainer.spans import within

Pair = tuple[int, int]  # shard (its place in the table), epoch

DOCUMENT, START, LENGTH, BEGIN = range(4)  # the fields of a row, see OpenRows.of

_KEPT_ROWS = 250_000  # 4 MB of them
_ROWS_OF_A_TABLE = 24  # what numpy and Python take for one, in rows
_ROWS_AT_ONCE = 32_000  # 4 MB while they are cut


class OpenRows:
    """The rows of a manifest's shards; UserError when one is not cut as the manifest says."""

    def __init__(self, manifest: Manifest, shards: OpenShards, store: Store):
        self._manifest = manifest
        self._shards = shards
        self._excluded, self._later = Excluded.load(store, manifest).apart()
        self._open: OrderedDict[Pair, I32] = OrderedDict()
        self._num_rows = 0

    def of(self, shards: I64, epochs: I64) -> list[I32]:
        """The rows of pairs [s], each a table [4, r] in the order of delivery.

        Its fields: document, start in the document, length without BOS and EOS, and the place of
        the first token among the tokens of the shard.
        """
        pairs = list(zip(shards.tolist(), epochs.tolist(), strict=True))
        known = {pair: self._open.pop(pair) for pair in pairs if pair in self._open}
        for part in self._parts([pair for pair in pairs if pair not in known]):
            for pair, rows in zip(part, self._read(part), strict=True):
                known[pair] = rows
                self._num_rows += rows.shape[1] + _ROWS_OF_A_TABLE
        self._open.update((pair, known[pair]) for pair in pairs)
        while self._num_rows > _KEPT_ROWS:
            _, dropped = self._open.popitem(last=False)
            self._num_rows -= dropped.shape[1] + _ROWS_OF_A_TABLE
        return [known[pair] for pair in pairs]

    def holes(self, shard: int, window: int) -> I64:
        """Documents of a shard that are left out of a window, though their rows are numbered."""
        return self._later.documents(int(self._shards.digests[shard]), window)

    def have_holes(self, shards: I64) -> NDArray[np.bool_]:
        """Whether shards [s] have documents that are left out at any window."""
        return self._later.touches(self._shards.digests[shards])

    def _parts(self, pairs: list[Pair]) -> Iterator[list[Pair]]:
        """Pairs that are cut in one go."""
        part: list[Pair] = []
        num_rows = 0
        for pair in pairs:
            num_rows += int(self._shards.num_rows[pair[0]])
            if part and num_rows > _ROWS_AT_ONCE:
                yield part
                part, num_rows = [], int(self._shards.num_rows[pair[0]])
            part.append(pair)
        if part:
            yield part

    def _read(self, pairs: list[Pair]) -> list[I32]:
        shards, epochs = (np.array(column) for column in zip(*pairs, strict=True))
        digests: U64 = self._shards.digests[shards]
        offsets = [self._shards.mapped(shard).offsets for shard, _ in pairs]
        num_documents = np.array([each.size - 1 for each in offsets])
        begins = np.concatenate([each[:-1] for each in offsets])
        lengths = np.concatenate([each[1:] for each in offsets]) - begins
        first = np.cumsum(num_documents) - num_documents
        pair_of = np.repeat(np.arange(len(pairs)), num_documents)  # by document

        place = within(num_documents).astype(np.uint64)
        keys = tail_keys(self._manifest.seed, digests[pair_of], place)
        document, start, length = cut(lengths, self._manifest.context, keys)
        kept = ~self._gone(digests, num_documents)[document]
        document, start, length = document[kept], start[kept], length[kept]
        pair = pair_of[document]
        num_rows = np.bincount(pair, minlength=len(pairs))
        self._require_as_counted(shards, num_rows)

        row = within(num_rows).astype(np.uint64)
        hashes = row_hashes(self._shards.key, epochs.astype(np.uint64)[pair], digests[pair], row)
        order = by_group_and_hash(pair, hashes)
        table = np.empty((4, order.size), np.int32)
        fields = (document - first[pair], start, length, begins[document] + start)
        for field, column in enumerate(fields):
            table[field] = column[order]
        ends = np.cumsum(num_rows)
        bounds = zip((ends - num_rows).tolist(), ends.tolist(), strict=True)
        return [table[:, a:b].copy() for a, b in bounds]

    def _gone(self, digests: U64, num_documents: I64) -> NDArray[np.bool_]:
        """Whether documents, one shard's after another's, are excluded from the first window."""
        gone = np.zeros(num_documents.sum(), bool)
        first = np.cumsum(num_documents) - num_documents
        for at in np.flatnonzero(self._excluded.touches(digests)).tolist():
            gone[first[at] + self._excluded.documents(int(digests[at]), 0)] = True
        return gone

    def _require_as_counted(self, shards: I64, num_rows: I64) -> None:
        counted = self._shards.num_rows[shards]
        for at in np.flatnonzero(num_rows != counted)[:1].tolist():
            url = self._shards.url(int(shards[at]))
            raise UserError(
                f"{url} is cut into {num_rows[at]:,} rows at context "
                f"{self._manifest.context:,}, its manifest counts {counted[at]:,}; it is damaged: "
                f"delete its stratum's folder {url.rsplit('/', 1)[0]} and build that again with "
                "`mmbert data RECIPE`"
            )
