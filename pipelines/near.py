"""A hash that near-duplicates share, so that none of them is trained on while another is held out.

The smallest hash of the text's shingles of five words: two texts share it with a probability equal
to the Jaccard similarity of their shingles (Broder 1997), and exact duplicates always do.
"""

from __future__ import annotations

import numpy as np
import xxhash

from schemas.keyed import keyed, keyed_array

SHINGLE = 5


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
