"""The clock is a function of the state, never runs backwards and ends at the budget."""

from hypothesis import given
from hypothesis import strategies as st

from trainer.clock import tokens_done

BUDGETS = st.integers(1, 3 * 10**12)


@given(BUDGETS, st.integers(1, 30_000))
def test_it_begins_at_zero_and_ends_exactly_at_the_budget(budget: int, windows: int) -> None:
    assert tokens_done(0, 0, 2_000, windows, budget) == 0
    assert tokens_done(windows, 0, 1, windows, budget) == budget
    assert tokens_done(windows - 1, 2_000, 2_000, windows, budget) == budget


@given(BUDGETS, st.lists(st.integers(0, 7), min_size=1, max_size=20))
def test_it_never_runs_backwards(budget: int, packs_of: list[int]) -> None:
    windows = len(packs_of)
    clocks = [
        tokens_done(window, pack, packs, windows, budget)
        for window, packs in enumerate(packs_of)
        for pack in range(packs + 1)
    ]
    assert clocks == sorted(clocks)


def test_the_end_of_a_window_is_the_start_of_the_next() -> None:
    assert tokens_done(3, 1_999, 1_999, 7, 10**12) == tokens_done(4, 0, 2_003, 7, 10**12)


def test_a_window_without_packs_takes_its_share_of_the_clock() -> None:
    assert tokens_done(1, 0, 0, 4, 100) == 25
