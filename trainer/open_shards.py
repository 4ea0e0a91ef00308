"""The open shards of a phase.

A shard is mapped when a plan first needs it, and the tokenizer checked that it was made with. The
least recently used are closed beyond a bound. Those of a remote store come out of a cache on this
machine (trainer/shard_cache.py). Local files, cached ones too, are hashed in the background, once a
process, from the first token that is read of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
import pyarrow as pa

from schemas.arrow import numbers
from schemas.errors import UserError
from schemas.keyed import U64
from schemas.manifest import Manifest
from schemas.rows import I64
from schemas.seal import require_same
from schemas.shard import Shard, open_shard
from schemas.store import Store, local_path
from trainer.background import Background
from trainer.damage import LOWEST_PRIORITY, require_whole
from trainer.order import id64
from trainer.shard_cache import cache_of


class OpenShards:
    """The shards of a manifest's table (SHARDS schema), opened when first asked for."""

    def __init__(self, manifest: Manifest, table: pa.Table, store: Store, key: int, bound: int):
        self.digests: U64 = np.array(
            [id64(digest) for digest in table.column("digest").to_pylist()], np.uint64
        )
        self.num_rows: I64 = numbers(table.column("rows"))
        self.key = key
        self._urls = table.column("url").to_pylist()
        self._manifest = manifest
        self._store = store
        self._bound = bound
        self._open: OrderedDict[int, Shard] = OrderedDict()
        self._lock = Lock()
        self._cache = cache_of(store, self._urls)
        self._hashed: set[int] = set()  # or about to be
        self._hashing: Background[int] = Background("hash", self._require_whole, LOWEST_PRIORITY)

    @property
    def are_remote(self) -> bool:
        return self._cache is not None

    def expect(self, now: Sequence[int], soon: Sequence[int]) -> None:
        """Fetch what a window reads, and then what comes after it, in the order of their need."""
        assert self._cache is not None
        with self._lock:
            self._cache.expect(*([self._urls[i] for i in shards] for shards in (now, soon)))
            for index in [i for i in self._open if not self._cache.holds(self._urls[i])]:
                del self._open[index]  # evicted: its space is free once no process maps it

    def tokens(self, index: int) -> Shard:
        """A shard to read tokens of; raises UserError once one of them is found damaged."""
        with self._lock:
            self._hashing.check()
            if index not in self._hashed:
                self._hashed.add(index)
                self._hashing.put([index])
            return self._get(index)

    def require_whole(self) -> None:
        """Wait until all shards are hashed that gave tokens; UserError where one is damaged."""
        self._hashing.finish()

    def documents(self, index: int) -> pa.Table:
        """The documents of a shard (DOCUMENTS); none of their tokens is read."""
        with self._lock:
            return self._get(index).table

    def mapped(self, indexes: Sequence[int]) -> list[Shard]:
        """Shards to plan with; none of their tokens is read."""
        with self._lock:
            return [self._get(index) for index in indexes]

    def url(self, index: int) -> str:
        return self._store.resolve(self._urls[index])

    def check(self) -> None:
        """UserError once a shard that gave tokens is found damaged."""
        self._hashing.check()

    def _get(self, index: int) -> Shard:
        found = self._open.pop(index, None)
        if found is None:
            found = self._read(index)
            while len(self._open) >= self._bound:
                self._open.popitem(last=False)
        self._open[index] = found
        return found

    def _read(self, index: int) -> Shard:
        manifest, url = self._manifest, self._store.resolve(self._urls[index])
        shard = self._cache.open(self._urls[index]) if self._cache else open_shard(url)
        require_same(shard.meta.tokenizer, manifest.tokenizer, url)
        if shard.meta.vocab_size != manifest.vocab_size:
            raise UserError(
                f"{url} was made with a vocabulary of {shard.meta.vocab_size:,} tokens, its "
                f"manifest with {manifest.vocab_size:,}; rebuild it with `mmbert data`"
            )
        return shard

    def _require_whole(self, index: int) -> None:
        if self._cache is not None:
            self._cache.require_whole(self._urls[index])
            return
        url = self._store.resolve(self._urls[index])
        path = local_path(url)
        assert path is not None
        require_whole(url, path)
