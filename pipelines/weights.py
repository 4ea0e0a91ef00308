"""Weights: how many tokens of the pool each language gets (invariant I2).

    p(l) ~ n(l) ** tau            inside the temperature group, n in tokens (Conneau et al. 2020)
    q(l) <= max_epochs * n(l)     whatever exceeds it is shared out again by the same rule until
                                  nothing does (water filling)
    sum of q = pool               exactly: integers by largest remainder

Shares between groups are set by the recipe and filled the same way: a source that is too small for
its share gives the rest back. At tau 0.3 and one epoch this is mmBERT's decay pool: the tail of
1,700 languages comes out once, in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.errors import UserError


def temperature(sizes: Mapping[str, int], tau: float) -> dict[str, float]:
    """n ** tau for each name, not normalised; 0 for names without tokens."""
    return {name: float(n) ** tau if n > 0 else 0.0 for name, n in sizes.items()}


def fill(total: float, weights: Mapping[str, float], caps: Mapping[str, float]) -> dict[str, float]:
    """Water filling: shares of `total` in proportion to `weights`, none above its cap.

    Asks sum(caps of positive weights) >= total. The result sums to total up to rounding. Each
    round caps at least one name, so there are at most as many rounds as names.
    """
    left = dict(weights)
    given = dict.fromkeys(weights, 0.0)
    rest = total
    while rest > 0:
        whole = sum(left.values())
        if whole <= 0:
            break
        over = [name for name, w in left.items() if w > 0 and rest * (w / whole) >= caps[name]]
        if not over:
            for name, weight in left.items():
                given[name] += rest * (weight / whole)
            break
        for name in over:
            given[name] = caps[name]
            del left[name]
        rest = total - sum(given[name] for name in given if name not in left)
    return given


def apportion(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Integers that sum to `total` exactly, by largest remainder (ties: by name).

    `shares` must sum to `total` up to rounding.
    """
    floors = {name: int(share) for name, share in shares.items()}
    missing = total - sum(floors.values())
    by_remainder = sorted(shares, key=lambda name: (floors[name] - shares[name], name))
    step = 1 if missing >= 0 else -1
    candidates: Sequence[str] = [n for n in by_remainder if shares[n] > 0]
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


def quota(target: int, rows: int, tokens: int, budget: int, pool: int) -> int:
    """K: the rows that deliver `target` tokens of the pool over the budget, at least 1.

    round(target * rows / tokens * budget / pool), halves up, in integers: one epoch of the pool
    gives every row once exactly.
    """
    top = target * rows * budget
    bottom = tokens * pool
    return max(1, (2 * top + bottom) // (2 * bottom))
