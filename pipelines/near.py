"""Hashes that near-duplicates share (MinHash, Broder 1997).

group    the smallest hash of the text's shingles of five words: two texts share it with a
         probability equal to the Jaccard similarity J of their shingles, exact duplicates always.
         What is held out is chosen by it, so that its near-duplicates are held out as well.
bands    BANDS hashes, each of ROWS MinHash values over shingles of nine characters, which fit every
         script: two texts share one with probability 1 - (1 - J^ROWS)^BANDS, which is 0.06 at
         J = 0.6, 0.27 at 0.7, 0.71 at 0.8, 0.91 at 0.85 and 0.99 at 0.9.
"""

from __future__ import annotations

import numpy as np
import xxhash
from rensa import RMinHash

from schemas.keyed import keyed, keyed_array

SHINGLE = 5
BANDS, ROWS = 11, 10
CHARACTERS = 9  # of a shingle of the bands
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def group_hash(seed: int, text: str) -> int:
    """64 bits; lower-cased words, so that layout and case do not part near-duplicates."""
    words = text.lower().split()
    hashes = np.array([xxhash.xxh3_64_intdigest(w.encode(errors="replace")) for w in words], "u8")
    if not words:
        return keyed(seed, 0)
    width = min(SHINGLE, len(words))
    count = len(words) - width + 1
    shingles = np.zeros(count, np.uint64)
    for place in range(width):
        shingles = shingles * np.uint64(0x100000001B3) + hashes[place : place + count]
    smallest = int(keyed_array(keyed(seed), shingles).min())
    # Hashed once more: the smallest of many is small, and long texts would be chosen more often.
    return keyed(seed, smallest)


def bands(seed: int, text: str) -> list[int]:
    """BANDS hashes of 64 bits; lower-cased, white space made one."""
    points = np.frombuffer(" ".join(text.lower().split()).encode("utf-32-le", "replace"), np.uint32)
    width = min(CHARACTERS, points.size)
    shingles = np.zeros(points.size - width + 1, np.uint64)
    for place in range(width):
        shingles = (shingles ^ points[place : place + shingles.size]) * _MULTIPLIER
        shingles ^= shingles >> np.uint64(31)
    offsets = np.array([0, shingles.size], np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles, offsets, BANDS * ROWS, seed)
    digest = np.array(matrix.to_rows()[0], np.uint64).reshape(BANDS, ROWS)
    return [keyed(seed, band, *values.tolist()) for band, values in enumerate(digest)]
