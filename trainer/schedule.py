"""Learning rate and batch size as functions of the clock (tokens done in this phase).

    warm-up           peak t / W                        t < W
    stable            peak
    decay             peak f(x),  x = (t - budget) / D + 1 in [0, 1]: the last D tokens
    linear            f = 1 - (1 - floor) x
    one-minus-sqrt    f = floor + (1 - floor) (1 - sqrt x)
    batch warm-up     size b lasts W b / sum(b) tokens, b = min .. max - 1: as many steps each

The shapes are those of ModernBERT's schedulers; batch warm-up is its BatchSizeWarmupScheduler.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # arithmetic needs no pydantic
    from schemas.recipe import Phase

Shape = Literal["constant", "linear", "one-minus-sqrt"]


def learning_rate(
    tokens_done: float,
    budget_tokens: int,
    peak: float,
    warmup_tokens: int,
    shape: Shape,
    decay_tokens: int,
    floor_fraction: float,
) -> float:
    """The rate at `tokens_done` of a phase; a decay lies inside the budget."""
    rate = peak
    if tokens_done < warmup_tokens:
        rate *= tokens_done / warmup_tokens
    if shape == "constant":
        return rate
    assert 0 < decay_tokens <= budget_tokens, (decay_tokens, budget_tokens)
    x = min(max((tokens_done - budget_tokens) / decay_tokens + 1, 0.0), 1.0)
    fall = x if shape == "linear" else math.sqrt(x)
    return rate * (1 - (1 - floor_fraction) * fall)


def batch_packs(tokens_done: float, warmup_tokens: int, min_packs: int, max_packs: int) -> int:
    """Packs of the global batch at `tokens_done`: grows by one from `min_packs` to `max_packs`."""
    if tokens_done >= warmup_tokens or min_packs >= max_packs:
        return max_packs
    sizes = range(min_packs, max_packs)
    share_done = tokens_done / warmup_tokens * sum(sizes)
    return min_packs + bisect_right(
        sizes, share_done, key=lambda b: (b + min_packs) * (b - min_packs + 1) // 2
    )


def batch_schedule(settings: Phase) -> Callable[[float], int]:
    """`batch_packs` of a phase: packs of the global batch by its clock."""
    most = settings.batch_packs
    least = settings.min_batch_packs or most
    return lambda clock: batch_packs(clock, settings.batch_warmup_tokens, least, most)
