"""The open shards of a phase, each with its rows in the order of one epoch.

A shard is mapped when a plan first needs it, and checked: the tokenizer it was made with, and that
it is cut into as many rows as the manifest says. The least recently used are closed beyond a
bound. Planning reads the lengths of documents only, never a token.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas import exclusions
from schemas.errors import UserError
from schemas.keyed import U64
from schemas.manifest import Manifest
from schemas.rows import I64, cut
from schemas.seal import require_same
from schemas.shard import Shard, open_shard
from schemas.store import Store
from trainer.order import id64, row_order, tail_keys

I32 = NDArray[np.int32]

_NEVER = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Excluded:
    """Documents that are not delivered: shard digests, sorted, with document and first window."""

    shard: U64
    document: I64
    from_window: I64

    @classmethod
    def load(cls, store: Store, manifest: Manifest) -> Excluded:
        shard, document, from_window = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], []
        for ref in manifest.exclusions:
            table = exclusions.load(store, ref).select(["shard", "document"]).combine_chunks()
            digests = table.column("shard").to_pylist()
            shard.append(np.array([id64(digest) for digest in digests], np.uint64))
            document.append(table.column("document").to_numpy())
            from_window.append(np.full(table.num_rows, ref.from_window))
        shards = np.concatenate(shard)
        order = np.argsort(shards, kind="stable")
        return cls(
            shards[order],
            np.concatenate(document)[order],
            np.concatenate([np.empty(0, np.int64), *from_window])[order],
        )

    def windows(self, shard: int, num_documents: int) -> I32 | None:
        """The window from which each document of a shard is a hole; None where there is none."""
        first, last = (
            np.searchsorted(self.shard, np.uint64(shard), side=side) for side in ("left", "right")
        )
        if first == last:
            return None
        windows = np.full(num_documents, _NEVER, np.int32)
        np.minimum.at(windows, self.document[first:last], self.from_window[first:last])
        return windows


@dataclass
class ShardRows:
    """An open shard and its rows [r] in document order; `order` is that of `epoch`."""

    shard: Shard
    document: I32
    start: I32
    length: I32  # BOS and EOS not counted
    hole_from: I32 | None  # the window from which a row is not delivered
    epoch: int
    order: I64


class OpenShards:
    """The shards of a manifest's table (SHARDS schema), opened when first asked for."""

    def __init__(self, manifest: Manifest, table: pa.Table, store: Store, key: int, bound: int):
        self.digests: U64 = np.array(
            [id64(digest) for digest in table.column("digest").to_pylist()], np.uint64
        )
        self.num_rows: I64 = table.column("rows").to_numpy()
        self.key = key
        self._urls = table.column("url").to_pylist()
        self._manifest = manifest
        self._excluded = Excluded.load(store, manifest)
        self._store = store
        self._bound = bound
        self._open: OrderedDict[int, ShardRows] = OrderedDict()
        self._lock = Lock()

    def tokens(self, index: int) -> Shard:
        with self._lock:
            return self._get(index).shard

    def rows(self, index: int, epoch: int) -> ShardRows:
        """A shard with its order in an epoch; good until the next call."""
        with self._lock:
            rows = self._get(index)
            if rows.epoch != epoch:
                digest = int(self.digests[index])
                rows.order = row_order(self.key, epoch, digest, rows.document.size)
                rows.epoch = epoch
            return rows

    def _get(self, index: int) -> ShardRows:
        found = self._open.pop(index, None)
        if found is None:
            found = self._read(index)
            while len(self._open) >= self._bound:
                self._open.popitem(last=False)
        self._open[index] = found
        return found

    def _read(self, index: int) -> ShardRows:
        manifest, url = self._manifest, self._store.resolve(self._urls[index])
        shard = open_shard(url)
        require_same(shard.meta.tokenizer, manifest.tokenizer, url)
        if shard.meta.vocab_size != manifest.vocab_size:
            raise UserError(
                f"{url} was made with a vocabulary of {shard.meta.vocab_size:,} tokens, its "
                f"manifest with {manifest.vocab_size:,}; rebuild it with `mmbert data`"
            )
        lengths, digest = shard.lengths, int(self.digests[index])
        document, start, length = (
            rows.astype(np.int32)
            for rows in cut(
                lengths, manifest.context, tail_keys(manifest.seed, digest, lengths.size)
            )
        )
        windows = self._excluded.windows(digest, lengths.size)
        hole_from = None
        if windows is not None:
            hole_from = windows[document]
            kept = hole_from > 0
            document, start, length = document[kept], start[kept], length[kept]
            hole_from = hole_from[kept]
        if document.size != self.num_rows[index]:
            raise UserError(
                f"{url} is cut into {document.size:,} rows at context {manifest.context:,}, its "
                f"manifest counts {self.num_rows[index]:,}; it is damaged: delete its stratum's "
                f"folder {url.rsplit('/', 1)[0]} and build that again with `mmbert data RECIPE`"
            )
        return ShardRows(shard, document, start, length, hole_from, -1, np.empty(0, np.int64))
