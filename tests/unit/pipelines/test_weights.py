"""Weights: temperature, water filling, exact targets, quotas of rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.weights import apportion, fill, quota, require_room, temperature
from schemas.errors import UserError

sizes = st.dictionaries(st.text("abcdefgh", min_size=1), st.integers(1, 10**12), min_size=1)


def test_temperature_flattens() -> None:
    weights = temperature({"eng": 10_000, "fao": 100, "none": 0}, 0.5)
    assert weights == {"eng": 100.0, "fao": 10.0, "none": 0.0}


@given(sizes, st.floats(0, 1), st.floats(0.5, 4))
def test_filling_sums_and_respects_caps(found: dict[str, int], tau: float, epochs: float) -> None:
    caps = {name: epochs * n for name, n in found.items()}
    total = 0.7 * sum(caps.values())
    given_ = fill(total, temperature(found, tau), caps)
    assert sum(given_.values()) == pytest.approx(total, rel=1e-9)
    assert all(given_[name] <= caps[name] * (1 + 1e-12) for name in found)


def test_the_surplus_is_shared_out_by_the_same_rule() -> None:
    given_ = fill(100.0, {"a": 2.0, "b": 1.0, "tiny": 1.0}, {"a": 1e9, "b": 1e9, "tiny": 10.0})
    assert given_ == pytest.approx({"a": 60.0, "b": 30.0, "tiny": 10.0})


def test_a_flat_temperature_takes_the_tail_once_in_full() -> None:
    found = {"large": 10**9} | {f"tail{i}": 10**4 + i for i in range(100)}
    given_ = fill(3e8, temperature(found, 0.0), {name: float(n) for name, n in found.items()})
    assert all(given_[f"tail{i}"] == 10**4 + i for i in range(100))


@given(sizes, st.floats(0, 1), st.floats(0.5, 4), st.integers(0, 10**9), st.floats(0, 1))
def test_filling_keeps_floors_and_caps_at_once(
    found: dict[str, int], tau: float, epochs: float, least: int, place: float
) -> None:
    caps = {name: epochs * n for name, n in found.items()}
    floors = {name: min(float(least), n, caps[name]) for name, n in found.items()}
    low, high = sum(floors.values()), sum(caps.values())
    total = low + place * (high - low)
    given_ = fill(total, temperature(found, tau), caps, floors)
    assert sum(given_.values()) == pytest.approx(total, rel=1e-9)
    assert all(floors[name] <= given_[name] <= caps[name] for name in found)
    # Whoever is neither at its floor nor at its cap has the one level.
    levels = [
        given_[name] / weight
        for name, weight in temperature(found, tau).items()
        if floors[name] < given_[name] < caps[name]
    ]
    assert not levels or max(levels) == pytest.approx(min(levels), rel=1e-9)


def test_what_a_floor_costs_the_others_give_by_the_same_rule() -> None:
    weights, caps = {"a": 2.0, "b": 1.0, "tiny": 0.01}, {"a": 1e9, "b": 1e9, "tiny": 40.0}
    given_ = fill(100.0, weights, caps, {"tiny": 40.0})
    assert given_ == pytest.approx({"a": 40.0, "b": 20.0, "tiny": 40.0})


@given(sizes, st.integers(1, 10**12))
def test_targets_sum_exactly(found: dict[str, int], total: int) -> None:
    whole = sum(found.values())
    targets = apportion(total, {name: total * n / whole for name, n in found.items()})
    assert sum(targets.values()) == total
    assert all(abs(targets[n] - total * found[n] / whole) <= 1 + total * 1e-15 for n in found)


def test_one_epoch_of_the_pool_gives_every_row_once() -> None:
    assert quota(target=123_457, rows=311, tokens=123_457, budget=7, pool=7) == 311


def test_no_stratum_with_rows_rounds_to_zero() -> None:
    assert quota(target=1, rows=10, tokens=10**9, budget=1, pool=10**12) == 1


def test_quotas_round_halves_up_in_integers() -> None:
    assert quota(target=3, rows=1, tokens=2, budget=1, pool=1) == 2
    assert quota(target=10**18 + 1, rows=10**6, tokens=10**18, budget=1, pool=1) == 10**6


def test_a_pool_that_cannot_be_filled_is_refused() -> None:
    with pytest.raises(UserError, match=r"phases\.x\.pool_tokens asks for 1,000 .* hold 400"):
        require_room(1000, 800.0, "phases.x", 2.0)
