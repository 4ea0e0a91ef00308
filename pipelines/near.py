"""Hashes that near-duplicates share (MinHash, Broder 1997), over shingles of nine characters, which
fit every script.

group    the smallest hash of the text's shingles: two texts share it with a probability equal to
         the Jaccard similarity J of their shingles, exact duplicates always. What is held out is
         chosen by it, so that its near-duplicates are held out as well.
bands    BANDS hashes, each of ROWS MinHash values: two texts share one with probability
         1 - (1 - J^ROWS)^BANDS, which is 0.06 at J = 0.6, 0.27 at 0.7, 0.71 at 0.8, 0.91 at 0.85
         and 0.99 at 0.9.
"""

from __future__ import annotations

import numpy as np
from rensa import RMinHash

from schemas.keyed import keyed, keyed_array

BANDS, ROWS = 11, 10
CHARACTERS = 9  # of a shingle
NO_SHINGLES = np.zeros(0, np.uint64)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def shingles(text: str) -> np.ndarray:
    """Hashes of all shingles of a text, at least one; lower-cased, white space made one."""
    points = np.frombuffer(" ".join(text.lower().split()).encode("utf-32-le", "replace"), np.uint32)
    if points.size < CHARACTERS:
        return points.astype(np.uint64).sum(keepdims=True) * _MULTIPLIER
    hashes = points.astype(np.uint64)
    for width in (1, 2, 4):  # of two neighbours' hashes that of twice the width
        hashes = _mixed(hashes[:-width], hashes[width:])
    return _mixed(hashes[:-1], points[CHARACTERS - 1 :])


def _mixed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    mixed = left * _MULTIPLIER
    mixed ^= right
    mixed *= _MULTIPLIER
    mixed ^= mixed >> np.uint64(31)
    return mixed


def group_hash(seed: int, hashes: np.ndarray) -> int:
    """64 bits of a text's shingles."""
    smallest = int(keyed_array(keyed(seed), hashes).min())
    # Hashed once more: the smallest of many is small, and long texts would be chosen more often.
    return keyed(seed, smallest)


def bands(seed: int, hashes: np.ndarray) -> list[int]:
    """BANDS hashes of 64 bits of a text's shingles."""
    offsets = np.array([0, hashes.size], np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, BANDS * ROWS, seed)
    digest = np.array(matrix.to_rows()[0], np.uint64).reshape(BANDS, ROWS)
    return [keyed(seed, band, *values.tolist()) for band, values in enumerate(digest)]
