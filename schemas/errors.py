"""The one exception that means "the input is wrong": it is printed and the exit code is 2."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input in one sentence: what is wrong, where it stands, what mends it."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The name that is nearest, in brackets after a space; nothing where none is near."""
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    return f" (did you mean {near[0]}?)" if near else ""
