"""How long work tells what it has done: one callable, so that libraries need no console."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # (what is being done, units done, units in all)


def silent(what: str, done: int, of: int) -> None:
    """For callers who do not look."""
