"""The held-out text: rows of documents that no phase trains on, and the bytes of their tokens.

In: the `Heldout` file of a run and the shards that it names. Out: rows, cut as in training, and
masked. The mask is keyed by shard, document and place alone, so it is the same for every phase,
model, seed and number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas import seal, shard
from schemas.keyed import key64, keyed, keyed_array
from schemas.rows import count_rows, cut
from schemas.run import Heldout
from schemas.store import Store, join, local_path
from trainer.background import Background
from trainer.damage import LOWEST_PRIORITY, require_whole
from trainer.mask import Masked, mask
from trainer.shard_cache import cache_of

_AHEAD = 32  # shards that are fetched while one is read


@dataclass(frozen=True)
class HeldoutRow:
    """A piece of a held-out document, masked."""

    language: str  # lang_Script
    opens: bool  # the first row of its document
    masked: Masked


class HeldoutText:
    """The text of a `Heldout` file, read from its shards as it is scored."""

    def __init__(self, store: Store, held_out: Heldout, sealed: seal.Seal) -> None:
        """Raises UserError when the text was tokenised with another tokenizer."""
        seal.require_same(held_out.tokenizer, sealed.digest, "the held-out text")
        self.held_out = held_out
        self._store = store
        self._sealed = sealed
        self._names = [join(part.folder, name) for part in held_out.strata for name in part.shards]
        self._cache = cache_of(store, self._names)
        self._hashed: set[str] = set()  # or about to be
        self._hashing: Background[str] = Background("hash", self._require_whole, LOWEST_PRIORITY)
        self.languages = sorted({stratum.language for stratum in held_out.strata})

    def num_tokens(self) -> int:
        """Tokens of one evaluation, BOS and EOS counted."""
        context = self.held_out.context
        shards = self._shards()
        return sum(count_rows(s.lengths[:take], context).tokens for _, s, _, take in shards)

    def rows(self, rank: int, world: int) -> Iterator[HeldoutRow]:
        """The rows of every `world`-th document, from document `rank` on.

        Their shards are hashed beside it, once a process; raises UserError for a damaged one.
        """
        before = 0
        for language, opened, url, take in self._shards():
            if url not in self._hashed:
                self._hashed.add(url)
                self._hashing.put([url])
            base = keyed(key64("heldout"), int(shard.digest_of(url), 16))
            keys = keyed_array(base, np.arange(take, dtype=np.uint64))
            document, start, length = cut(opened.lengths[:take], self.held_out.context, keys)
            mine = np.flatnonzero((document + before) % world == rank)
            for i in mine.tolist():
                d = int(document[i])
                opens = i == 0 or int(document[i - 1]) != d
                body = opened.document(d)[start[i] : start[i] + length[i]]
                masked = self._mask(body, keyed(int(keys[d]), int(start[i])))
                yield HeldoutRow(language, opens, masked)
            before += take
        self._hashing.finish()

    def _mask(self, body: NDArray[np.uint32], key: int) -> Masked:
        special, rate = self._sealed.special, self.held_out.mask_rate
        ids = np.concatenate([[special.bos], body, [special.eos]])
        return mask(ids, body.size, rate, key, self._sealed.vocab_size, special)

    def _shards(self) -> Iterator[tuple[str, shard.Shard, str, int]]:
        """(language, shard, its name, documents to take) until each stratum has its number."""
        for stratum in self.held_out.strata:
            left = stratum.documents
            for name in stratum.shards:
                if left <= 0:
                    break
                url = join(stratum.folder, name)
                opened = self._open(url)
                seal.require_same(opened.meta.tokenizer, self.held_out.tokenizer, opened.url)
                take = min(left, opened.table.num_rows)
                left -= take
                yield stratum.language, opened, url, take

    def _open(self, url: str) -> shard.Shard:
        if self._cache is None:
            return shard.open_shard(self._store.resolve(url))
        next_ = self._names.index(url) + 1
        self._cache.expect([url], self._names[next_ : next_ + _AHEAD])
        return self._cache.open(url)

    def _require_whole(self, url: str) -> None:
        if self._cache is not None:
            self._cache.require_whole(url)
            return
        path = local_path(self._store.resolve(url))
        assert path is not None
        require_whole(self._store.resolve(url), path)
