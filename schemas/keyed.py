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


def _mix_array(x: U64) -> U64:
    x = x ^ (x >> np.uint64(30))  # and from here in place: most of a plan's time is memory's
    x *= np.uint64(_M1)
    x ^= x >> np.uint64(27)
    x *= np.uint64(_M2)
    x ^= x >> np.uint64(31)
    return x


def keyed(*parts: int) -> int:
    """One 64-bit hash of a sequence of integers (each taken modulo 2**64)."""
    h = _GOLDEN
    for part in parts:
        h = _mix(h ^ _mix((part + _GOLDEN) & _MASK))
    return h


def keyed_array(key: int | U64, values: U64) -> U64:
    """`keyed(..., value)` for each value; key = `keyed(...)` of the parts before, one or each."""
    return _mix_array(np.uint64(key) ^ _mix_array(values.astype(np.uint64) + np.uint64(_GOLDEN)))
