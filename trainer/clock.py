"""The clock of a phase: tokens done, a function of the state alone.

    clock = budget (window + pack / packs of the window) / N

It drives learning rate and batch size, and says when to score. It counts shares of the plan rather
than tokens seen, so it is the same at any number of ranks, and is exactly the budget at the end.
"""

from __future__ import annotations


def tokens_done(
    window: int, pack: int, packs_of_window: int, num_windows: int, budget_tokens: int
) -> float:
    """The clock before pack `pack` of `window`; `(num_windows, 0, ...)` is the end."""
    packs = max(packs_of_window, 1)
    # One division of integers: correctly rounded, so it never runs backwards.
    return budget_tokens * (window * packs + pack) / (num_windows * packs)
