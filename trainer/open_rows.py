"""The rows of shards in the order of an epoch: cut, hashed and sorted when a plan first needs them.

In: (shard, epoch) pairs, and which of their rows a window takes. Out: tables of these. Lengths of
documents only, never a token. All pairs that are missing are cut in one go, so that 1,833 small
shards cost no more than one large.

A shard is sorted whole and of that only kept what it gives to this window and the next few: a
phase has a full shard open for each large language, 24,000 rows of which a window takes some
hundreds. What the last window used is kept; beyond a bound the rest is dropped, oldest first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

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

_KEPT_ROWS = 250_000  # 4 MB of them; more where a window and those ahead of it have more
_WINDOWS_AHEAD = 16  # 38 MB of 150,000 rows each; a sort of all shards is spread over so many
_FEWEST_ROWS = 256
_ROWS_OF_A_TABLE = 24  # what numpy and Python take for one, in rows
_ROWS_AT_ONCE = 32_000  # 4 MB while they are cut


@dataclass(frozen=True)
class _Kept:
    """A part of a pair's rows in their order, from `first` on."""

    first: int
    rows: I32  # [4, r]

    @property
    def size(self) -> int:
        return self.rows.shape[1] + _ROWS_OF_A_TABLE


class OpenRows:
    """The rows of a manifest's shards; UserError when one is not cut as the manifest says."""

    def __init__(self, manifest: Manifest, shards: OpenShards, store: Store):
        self._manifest = manifest
        self._shards = shards
        self._excluded, self._later = Excluded.load(store, manifest).apart()
        self._open: OrderedDict[Pair, _Kept] = OrderedDict()
        self._num_rows = 0

    def of(self, shards: I64, epochs: I64, first: I64, last: I64) -> list[I32]:
        """Rows [first, last) of pairs [s], all different: tables [4, r] in the order of delivery.

        Their fields: document, start in the document, length without BOS and EOS, and the place of
        the first token among the tokens of the shard.
        """
        pairs = zip(shards.tolist(), epochs.tolist(), strict=True)
        wanted = dict(zip(pairs, zip(first.tolist(), last.tolist(), strict=True), strict=True))
        missing = [pair for pair, (a, b) in wanted.items() if not self._has(pair, a, b)]
        found: dict[Pair, I32] = {}
        for part in self._parts(missing):
            for pair, rows in zip(part, self._read(part), strict=True):
                a, b = wanted[pair]
                found[pair] = rows[:, a:b]
                self._drop(pair)
                if b < rows.shape[1]:  # else its epoch is over
                    ahead = max(_WINDOWS_AHEAD * (b - a), _FEWEST_ROWS)
                    self._open[pair] = _Kept(a, rows[:, a : a + ahead].copy())
                    self._num_rows += self._open[pair].size
                    found[pair] = self._open[pair].rows[:, : b - a]
        for pair in wanted.keys() - found.keys():
            a, b = wanted[pair]
            self._open.move_to_end(pair)
            kept = self._open[pair]
            found[pair] = kept.rows[:, a - kept.first : b - kept.first]
        while self._num_rows > _KEPT_ROWS and len(self._open) > len(wanted):
            self._drop(next(iter(self._open)))
        return [found[pair] for pair in wanted]

    def _has(self, pair: Pair, first: int, last: int) -> bool:
        kept = self._open.get(pair)
        return kept is not None and kept.first <= first and last <= kept.first + kept.rows.shape[1]

    def _drop(self, pair: Pair) -> None:
        kept = self._open.pop(pair, None)
        self._num_rows -= kept.size if kept else 0

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
        """All rows of pairs, views of one table."""
        shards, epochs = (np.array(column) for column in zip(*pairs, strict=True))
        digests: U64 = self._shards.digests[shards]
        offsets = [shard.offsets for shard in self._shards.mapped(shards.tolist())]
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
        return [table[:, a:b] for a, b in bounds]

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
