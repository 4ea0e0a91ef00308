"""What the characters of a text are, looked up for all of it at once.

    classes(text)             [n] the classes of each character, as bits
    of_scripts(text, ...)     how many of its letters are of these scripts, and how many letters

Unicode's properties are those of the `regex` package.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
import regex

LETTER, SYMBOL, CONTROL, LEAD, TRAIL = (1 << place for place in range(5))
_CLASSES = {
    LETTER: r"\p{L}",
    SYMBOL: r"[^\p{L}\p{M}\p{N}\s]",
    CONTROL: r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff\ufffe\uffff\p{Co}\p{Cn}]",
    # A lead byte of UTF-8 seen as a letter of Latin-1 or cp1252; what continuation bytes show.
    LEAD: r"[\u00c2-\u00f4]",
    TRAIL: r"[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013\u2014"
    r"\u2018-\u201a\u201c-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]",
}
_POINTS = sys.maxunicode + 1
_script_of = np.zeros(_POINTS, np.uint8)  # numbers of the scripts that were asked for


@lru_cache(maxsize=1)  # several filters ask about one text
def points(text: str) -> npt.NDArray[np.uint32]:
    """Code points [n]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


@lru_cache(maxsize=1)
def classes(text: str) -> npt.NDArray[np.uint8]:
    """The classes of each character, as bits [n]."""
    return _table().take(points(text))


def count(classes: npt.NDArray[np.uint8], wanted: int) -> int:
    """How many characters are of a class."""
    return int(np.count_nonzero(classes & wanted))


def of_scripts(text: str, names: Sequence[str], first: int) -> tuple[int, int]:
    """Letters of the first characters that are of one of these scripts (`Latn`), and all letters.

    Raises LookupError for a script that this version of Unicode does not know.
    """
    numbers = [_number(name) for name in names]
    is_letter = (classes(text)[:first] & LETTER) != 0
    scripts = _script_of.take(points(text)[:first])
    own = sum(int(np.count_nonzero((scripts == number) & is_letter)) for number in numbers)
    return own, int(np.count_nonzero(is_letter))


@cache
def _table() -> npt.NDArray[np.uint8]:
    table = np.zeros(_POINTS, np.uint8)
    for bit, pattern in _CLASSES.items():
        for start, end in _runs(pattern):
            table[start:end] |= bit
    return table


@cache
def _number(script: str) -> int:
    number = 1 + int(_script_of.max())
    try:
        runs = _runs(rf"\p{{Script={script}}}")
    except regex.error:
        raise LookupError(script) from None
    for start, end in runs:
        _script_of[start:end] = number
    return number


def _runs(pattern: str) -> list[tuple[int, int]]:
    """The ranges of code points that a pattern of one character matches."""
    every = np.arange(_POINTS, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    return [found.span() for found in regex.finditer(f"{pattern}+", every)]
