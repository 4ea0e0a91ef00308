"""Keyed 64-bit hashing: the only source of "randomness" in the order, the packs and the masks.

    mix(x)            = the finaliser of splitmix64 (Steele, Lea & Flood 2014), on uint64 or arrays
    keyed(a, b, ...)  = h over all parts, h = G at first, then h = mix(h ^ mix(part + G));
                        G = 0x9E3779B97F4A7C15
    key64("text")     = the first 8 bytes of blake2b("text"), little-endian

Everything is a pure function of integers, so any process on any machine computes the same order.
FORMAT.md carries test vectors.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_M1 = 0xBF58476D1CE4E5B9
_M2 = 0x94D049BB133111EB


def key64(text: str) -> int:
    """A 64-bit key for a name: the first 8 bytes of blake2b, little-endian."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * _M1) & _MASK
    x = ((x ^ (x >> 27)) * _M2) & _MASK
    return x ^ (x >> 31)


def _mix_in_place(x: U64, scratch: U64) -> None:
    # Most of a plan's time would be memory's that is new: no array is made here.
    for shift, factor in ((30, _M1), (27, _M2)):
        np.right_shift(x, shift, out=scratch)
        x ^= scratch
        x *= np.uint64(factor)
    np.right_shift(x, 31, out=scratch)
    x ^= scratch


def keyed(*parts: int) -> int:
    """One 64-bit hash of a sequence of integers (each taken modulo 2**64)."""
    h = _GOLDEN
    for part in parts:
        h = _mix(h ^ _mix((part + _GOLDEN) & _MASK))
    return h


def keyed_array(key: int | U64, values: U64) -> U64:
    """`keyed(..., value)` for each value; key = `keyed(...)` of the parts before, one or each."""
    hashes = values.astype(np.uint64)
    hashes += np.uint64(_GOLDEN)
    scratch = np.empty_like(hashes)
    _mix_in_place(hashes, scratch)
    hashes ^= np.uint64(key)
    _mix_in_place(hashes, scratch)
    return hashes
