"""Weights: how many tokens of the pool each language gets (invariant I2).

    p(l) ~ n(l) ** tau            inside the temperature group, n in tokens (Conneau et al. 2020)
    q(l) <= max_epochs * n(l)     whatever exceeds it is shared out again by the same rule until
                                  nothing does (water filling)
    q(l) >= min(min_tokens, n(l)) the same from below: what a floor costs, the others give
    sum of q = pool               exactly: integers by largest remainder

So q(l) = clip(level * n(l) ** tau, floor, cap) with the one level at which they sum to the pool.
Shares between groups are set by the recipe and filled the same way: a source that is too small for
its share gives the rest back. At tau 0.3 and one epoch this is mmBERT's decay pool: the tail of
1,700 languages comes out once, in full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from schemas.errors import UserError


def temperature(sizes: Mapping[str, int], tau: float) -> dict[str, float]:
    """n ** tau for each name, not normalised; 0 for names without tokens."""
    return {name: float(n) ** tau if n > 0 else 0.0 for name, n in sizes.items()}


def fill(
    total: float,
    weights: Mapping[str, float],
    caps: Mapping[str, float],
    floors: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Water filling: shares of `total` in proportion to `weights`, none above its cap or below its
    floor (0 where none is given; floors are at most caps).

    Asks sum(floors) <= total <= sum(caps) over names of positive weight; the others get nothing.
    The result sums to total up to rounding.
    """
    names = [name for name, weight in weights.items() if weight > 0]
    given = dict.fromkeys(weights, 0.0)
    if not names or total <= 0:
        return given
    weight = np.array([weights[name] for name in names], np.float64)
    high = np.array([caps[name] for name in names], np.float64)
    low = np.array([(floors or {}).get(name, 0.0) for name in names], np.float64)
    given.update(zip(names, _clip(total, weight, low, high).tolist(), strict=True))
    return given


def _clip(total: float, weight: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """clip(level * weight, low, high) that sums to total.

    The sum grows with the level, so the place of the level among those where a name leaves its
    floor or reaches its cap is found by bisection; between two of them it follows exactly.
    """
    levels = np.unique(np.concatenate([low / weight, high / weight]))
    first, last = 0, levels.size - 1  # the level lies in levels[first] .. levels[last]
    while last - first > 1:
        middle = (first + last) // 2
        if np.clip(levels[middle] * weight, low, high).sum() < total:
            first = middle
        else:
            last = middle
    at_floor = low / weight >= levels[last]
    at_cap = ~at_floor & (high / weight <= levels[first])
    free = ~(at_floor | at_cap)
    rest = total - math.fsum(low[at_floor]) - math.fsum(high[at_cap])
    level = rest / math.fsum(weight[free]) if free.any() else 0.0
    between = np.clip(level * weight, low, high)
    return np.where(at_floor, low, np.where(at_cap, high, between))


def apportion(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Integers that sum to `total` exactly, by largest remainder (ties: by name).

    `shares` must sum to `total` up to rounding. Whole shares, as those at a cap, are the last to
    be rounded up.
    """
    floors = {name: int(share) for name, share in shares.items()}
    missing = total - sum(floors.values())
    by_remainder = sorted(shares, key=lambda name: (floors[name] - shares[name], name))
    step = 1 if missing >= 0 else -1
    candidates = [n for n in by_remainder if shares[n] > 0]
    if step < 0:
        candidates = [n for n in reversed(candidates) if floors[n] > 0]
    assert abs(missing) <= len(candidates), (total, missing, len(candidates))
    for name in candidates[: abs(missing)]:
        floors[name] += step
    return floors


def require_room(total: int, room: float, where: str, max_epochs: float) -> None:
    """UserError when caps leave less than the pool."""
    if room < total:
        raise UserError(
            f"{where}.pool_tokens asks for {total:,} tokens, but its languages and sources hold "
            f"{int(room / max_epochs):,} and max_epochs is {max_epochs:g}, which gives at most "
            f"{int(room):,}; lower pool_tokens, raise max_epochs or add sources"
        )


def require_floors(total: float, floors: Mapping[str, float], where: str) -> None:
    """UserError when the floors of the temperature group ask for more than its share."""
    asked = math.fsum(floors.values())
    if asked > total:
        raise UserError(
            f"{where}.min_tokens asks for {math.ceil(asked):,} tokens of {len(floors):,} "
            f"languages, and their share of the pool is {int(total):,}; lower min_tokens, or raise "
            "pool_tokens or the multilingual share"
        )


def quota(target: int, rows: int, tokens: int, budget: int, pool: int) -> int:
    """K: the rows that deliver `target` tokens of the pool over the budget, at least 1.

    round(target * rows / tokens * budget / pool), halves up, in integers: one epoch of the pool
    gives every row once exactly.
    """
    top = target * rows * budget
    bottom = tokens * pool
    return max(1, (2 * top + bottom) // (2 * bottom))
