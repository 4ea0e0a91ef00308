"""Contamination: documents that hold a text of an evaluation file.

    normalise   NFKC, casefold; letters, marks and digits only, so neither spaces nor punctuation
    a text of 50 characters and more    is found by any of its pieces of 50, cut one after another,
                                        the last one ending with the text
    one of 25 to 49                     is found whole
    a shorter one                       is not looked for: such sentences occur by chance

So every document with the whole text is found, and every one with 99 characters of it in a row.
Pieces of 50 normalised characters are OpenAI's rule (GPT-4 technical report, appendix C), which
needs no words and so holds in every script. Where more than half of a text is written in Han, kana
or Hangul, a character says more: 20 and 10 take the place of 50 and 25.

Shards are decoded with the sealed tokenizer: strata hold no text. The first 25 (10) characters of
each piece are hashed and looked for at every place of a document; what is found is compared whole.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import regex
from numpy.typing import NDArray

from pipelines.evaluation_texts import digest_of, find_files, texts_of
from pipelines.search_shards import search
from schemas import seal as seals
from schemas.catalogue import Catalogue
from schemas.digest import content_id
from schemas.keyed import U64
from schemas.rows import I64
from schemas.seal import Seal
from schemas.shard import Shard
from schemas.store import Store

RULE = 1  # bumped when what counts as contaminated changes
CONTAMINATION = "contamination"
LETTERS = (50, 25)  # characters of a piece, and of the shortest text that is looked for
SYLLABLES = (20, 10)
SEED_BITS = 24  # 16 MB, of which a million pieces take a sixteenth
BATCH = 512  # documents that are decoded at once
_NOT_TEXT = regex.compile(r"[^\p{L}\p{M}\p{N}]+")
_SYLLABLE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")
_BASE = 0x9E3779B97F4A7C15


def contaminated(
    store: Store, sealed: Seal, catalogue: Catalogue, places: Sequence[str]
) -> pa.Table:
    """The documents (exclusions.ROWS) that hold a text of the evaluation files at `places`."""
    files = find_files(places, "exclusions.contamination")
    pieces: list[Pieces] = []

    def look(shard: Shard) -> Iterator[tuple[int, str]]:
        if not pieces:
            pieces.append(Pieces.of(t for url, data in files.items() for t in texts_of(url, data)))
        for document, text in _texts_of(store, sealed, shard):
            if pieces[0].stand_in(normalise(text)):
                yield document, CONTAMINATION

    listed = content_id([RULE, *digest_of(files)])
    return search(store, catalogue, CONTAMINATION, listed, look)


def normalise(text: str) -> str:
    """What is compared of a text."""
    return _NOT_TEXT.sub("", unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True)
class Pieces:
    """What is looked for: pieces by the hash of their first characters, by how many those are."""

    by_width: dict[int, dict[int, list[str]]]
    seeds: dict[int, NDArray[np.bool_]]  # whether a hash begins with these bits: most do not

    @classmethod
    def of(cls, texts: Iterator[str]) -> Pieces:
        """The pieces of evaluation texts."""
        by_width: dict[int, dict[int, list[str]]] = {}
        for width, piece in {found for text in texts for found in _cut(normalise(text))}:
            (hashed,) = hashes(piece[:width], width).tolist()
            by_width.setdefault(width, {}).setdefault(hashed, []).append(piece)
        seeds = {width: np.zeros(1 << SEED_BITS, bool) for width in by_width}
        for width, found in by_width.items():
            seeds[width][_first_bits(np.fromiter(found, np.uint64, len(found)))] = True
        return cls(by_width, seeds)

    def stand_in(self, text: str) -> bool:
        """Whether a normalised text holds one of the pieces."""
        for width, seeds in self.seeds.items():
            found = hashes(text, width)
            for place in np.flatnonzero(seeds[_first_bits(found)]).tolist():
                pieces = self.by_width[width].get(int(found[place]), ())
                if any(text.startswith(piece, place) for piece in pieces):
                    return True
        return False


def _first_bits(hashed: U64) -> I64:
    return (hashed >> np.uint64(64 - SEED_BITS)).astype(np.int64)


def _cut(text: str) -> Iterator[tuple[int, str]]:
    """(characters that are hashed, piece) of a normalised text."""
    many = len(_SYLLABLE.findall(text)) * 2 > len(text)
    length, shortest = SYLLABLES if many else LETTERS
    if len(text) < shortest:
        return
    last = max(0, len(text) - length)
    for start in (*range(0, last, length), last):
        yield shortest, text[start : start + length]


def hashes(text: str, width: int) -> U64:
    """Of the `width` characters from each place on: a polynomial modulo 2^64, by doubling."""
    code = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), "<u4").astype(np.uint64)
    count = code.size - width + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    power = (code + np.uint64(1)) * np.uint64(_BASE)  # of 1, 2, 4, ... characters from each place
    done, place, size, factor = np.zeros(count, np.uint64), 0, 1, _BASE
    while True:
        if width & size:
            done = done * np.uint64(factor) + power[place : place + count]
            place += size
        if place == width:
            return done ^ (done >> np.uint64(29))
        power = power[: power.size - size] * np.uint64(factor) + power[size:]
        factor = factor * factor % 2**64
        size *= 2


def _texts_of(store: Store, sealed: Seal, shard: Shard) -> Iterator[tuple[int, str]]:
    """Every document of a shard, decoded."""
    from tokenizers import Tokenizer

    _, tokenizer_json = seals.load(seals.seal_folder(store.url, sealed.digest))
    tokenizer = Tokenizer.from_buffer(tokenizer_json)
    for first in range(0, shard.table.num_rows, BATCH):
        places = range(first, min(first + BATCH, shard.table.num_rows))
        ids = [shard.document(place).tolist() for place in places]
        yield from zip(places, tokenizer.decode_batch(ids), strict=True)
