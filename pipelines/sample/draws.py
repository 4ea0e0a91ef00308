"""Seeded draws: one stream of uniform numbers for each name, the same on every machine.

A stream is keyed by words (`Draws(seed, "fineweb2", "fao_Latn")`), so no stream depends on the
order in which others are read, and asking for one language more leaves the text of the others
alone.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_BLOCK = 1024


def digest(*key: str | int) -> str:
    """32 hexadecimal digits that stand for this key."""
    return hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).hexdigest()


def uuid(*key: str | int) -> str:
    """The digest of a key, written as a UUID."""
    d = digest(*key)
    return f"{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:]}"


class Draws:
    """The stream of one key: PCG64, read as 53-bit uniforms in blocks."""

    def __init__(self, *key: str | int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(int(digest(*key), 16)))
        self._block: list[float] = []

    def uniform(self) -> float:
        """A number in [0, 1)."""
        if not self._block:
            self._block = self._generator.random(_BLOCK).tolist()
        return self._block.pop()

    def below(self, bound: int) -> int:
        """An integer in [0, bound)."""
        return int(self.uniform() * bound)

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.below(high - low + 1)

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, all equally likely."""
        return choices[self.below(len(choices))]

    def sample(self, choices: Sequence[T], count: int) -> list[T]:
        """`count` different choices in random order (all of them where there are fewer)."""
        left = list(choices)
        count = min(count, len(left))
        for i in range(count):
            j = i + self.below(len(left) - i)
            left[i], left[j] = left[j], left[i]
        return left[:count]

    def log_normal(self, mean: float, sigma: float) -> float:
        """A log-normal number with this mean (Box and Muller's transform)."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.uniform()))
        normal = radius * math.cos(2.0 * math.pi * self.uniform())
        return mean * math.exp(sigma * normal - sigma * sigma / 2)
