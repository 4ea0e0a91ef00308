"""The documents that a phase does not deliver, by shard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas import exclusions
from schemas.arrow import numbers
from schemas.keyed import U64
from schemas.manifest import Manifest
from schemas.rows import I64
from schemas.store import Store
from trainer.order import id64


@dataclass(frozen=True)
class Excluded:
    """Documents [x] that are not delivered from a window on, sorted by the digest of the shard."""

    shard: U64
    document: I64
    from_window: I64

    @classmethod
    def load(cls, store: Store, manifest: Manifest) -> Excluded:
        shard, document, from_window = [_NO_SHARD], [_NONE], [_NONE]
        for ref in manifest.exclusions:
            table = exclusions.load(store, ref).select(["shard", "document"]).combine_chunks()
            digests = table.column("shard").to_pylist()
            shard.append(np.array([id64(digest) for digest in digests], np.uint64))
            document.append(numbers(table.column("document")))
            from_window.append(np.full(table.num_rows, ref.from_window))
        shards = np.concatenate(shard)
        found = cls(shards, np.concatenate(document), np.concatenate(from_window))
        return found._chosen(np.argsort(shards, kind="stable"))

    def apart(self) -> tuple[Excluded, Excluded]:
        """What is excluded from window 0, and what later on."""
        later = self.from_window > 0
        return self._chosen(np.flatnonzero(~later)), self._chosen(np.flatnonzero(later))

    def touches(self, shards: U64) -> NDArray[np.bool_]:
        """Whether documents of shards [s] are excluded, now or later."""
        return np.searchsorted(self.shard, shards, "left") < np.searchsorted(
            self.shard, shards, "right"
        )

    def documents(self, shard: int, window: int) -> I64:
        """The documents of a shard that a window leaves out."""
        digest = np.uint64(shard)
        mine = slice(
            np.searchsorted(self.shard, digest, "left"),
            np.searchsorted(self.shard, digest, "right"),
        )
        return self.document[mine][self.from_window[mine] <= window]

    def _chosen(self, places: I64) -> Excluded:
        return Excluded(self.shard[places], self.document[places], self.from_window[places])


_NO_SHARD = np.empty(0, np.uint64)
_NONE = np.empty(0, np.int64)
