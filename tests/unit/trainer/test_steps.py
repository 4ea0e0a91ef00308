"""Steps take packs by counts alone, each once and in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainer.clock import tokens_done
from trainer.steps import BEGIN, State, Steps

BUDGET = 1_000_000


@given(
    packs=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    grow=st.integers(1, 400_000),
    start=st.tuples(st.integers(0, 11), st.integers(0, 9)),
)
def test_every_pack_is_taken_once_from_any_state(
    packs: list[int], grow: int, start: tuple[int, int]
) -> None:
    steps = Steps(len(packs), BUDGET, packs.__getitem__)

    def wanted(clock: float) -> int:
        return 1 + int(clock // grow)

    walked = list(steps.walk(BEGIN, wanted))
    every = [(window, pack) for window, count in enumerate(packs) for pack in range(count)]
    assert [pack for step in walked for pack in step.packs] == every
    for step in walked[:-1]:
        assert len(step.packs) == wanted(step.clock_tokens)
    for step in walked:
        window, pack = step.packs[0]
        assert step.first == State(window, pack)
        assert step.clock_tokens == tokens_done(window, pack, packs[window], len(packs), BUDGET)
        assert all((pack in step) == (pack in step.packs) for pack in every)
    if walked:
        assert walked[-1].after == State(len(packs))
    rest = [pack for step in steps.walk(State(*start), lambda _: 3) for pack in step.packs]
    assert rest == [pack for pack in every if pack >= start]
