"""Is a document in the language of its file? Asked of the file itself: nothing is downloaded, and a
language that no identifier knows is judged like any other.

    p(g)         = (c(g) + a) / (sum of c + a B)    the file's character trigrams g, hashed into B
    likelihood   = mean of log p over a document's trigrams, its own counts taken off
    distance     = the median likelihood of the file's documents - the document's, in nats

A document in another language is far from the rest of its file, in whatever language it is; one of
another kind (law among tales) is not as far. The profile is learned from the head of a file, so
what is dropped follows from the file alone. Where most of a file is in another language than it
says, this cannot tell: that is upstream's label to mend.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import regex

MIN_DOCUMENTS = 8  # fewer say little of a language
MIN_TRIGRAMS = 30
CHARACTERS = 4_000  # of a document that count
BUCKET_BITS = 17
SMOOTHING = 0.05
_WORDS = regex.compile(r"[\p{L}\p{M}]+")
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


class LanguageProfile:
    """What the documents of one file are like.

    `head` are those at its head: (number of the record, text).
    """

    def __init__(self, head: Iterable[tuple[int, str]]) -> None:
        counted = [(number, *count(buckets_of(text))) for number, text in head]
        counts = np.zeros(1 << BUCKET_BITS, np.int64)
        for _, buckets, times in counted:
            counts[buckets] += times
        total = int(counts.sum())
        room = SMOOTHING * counts.size
        self._log = np.log((counts + SMOOTHING) / (total + room))
        self._of_head: dict[int, float | None] = {}
        for number, buckets, times in counted:
            size = int(times.sum())
            others = np.log((counts[buckets] - times + SMOOTHING) / (total - size + room))
            told = float(np.dot(others, times)) / size if size >= MIN_TRIGRAMS else None
            self._of_head[number] = told
        known = [told for told in self._of_head.values() if told is not None]
        self._median = float(np.median(known)) if len(known) >= MIN_DOCUMENTS else None

    def distance(self, number: int, text: str) -> float | None:
        """Nats a trigram of a record, or None where its text or the file are too small to say."""
        if number in self._of_head:
            told = self._of_head[number]
        else:
            buckets = buckets_of(text)
            told = float(self._log[buckets].mean()) if buckets.size >= MIN_TRIGRAMS else None
        return None if told is None or self._median is None else self._median - told


def count(buckets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct buckets and how often each occurs."""
    found, times = np.unique(buckets, return_counts=True)
    return found, times


def buckets_of(text: str) -> np.ndarray:
    """Hashed character trigrams [n] of a text's words, in order."""
    words = " ".join(_WORDS.findall(text[:CHARACTERS].lower()))
    points = np.frombuffer(f" {words} ".encode("utf-32-le"), np.uint32).astype(np.uint64)
    hashes = np.zeros(max(0, points.size - 2), np.uint64)
    for place in range(3):
        hashes = (hashes ^ points[place : place + hashes.size]) * _MULTIPLIERS[0]
        hashes ^= hashes >> np.uint64(31)
    return ((hashes * _MULTIPLIERS[1]) >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)
