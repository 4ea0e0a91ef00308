"""From packs to steps: which packs the global batches of a phase take. Counts only, never a token.

    a step    takes the next B packs of the phase, across windows; the last one takes what is left
    B         is given by the clock at the first of them (batch warm-up)
    clock     trainer/clock.py

In: how many packs each window has. Training counts those of its plans; a trace of the past takes
them from the journal, and so finds any step without planning the windows before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trainer.clock import tokens_done


@dataclass(frozen=True, order=True)
class State:
    """A place in the sequence of packs: before this pack of this window."""

    window: int = 0
    pack: int = 0


BEGIN = State()


@dataclass(frozen=True)
class Step:
    """The packs of one global batch: `spans` are (window, first pack, last pack + 1)."""

    first: State
    after: State
    clock_tokens: float  # at `first`
    spans: tuple[tuple[int, int, int], ...]

    @property
    def packs(self) -> list[tuple[int, int]]:
        """(window, pack) in order; of W ranks, rank r takes every W-th from the r-th on."""
        return [(window, pack) for window, first, last in self.spans for pack in range(first, last)]

    def __contains__(self, pack: tuple[int, int]) -> bool:
        window, index = pack
        return any(w == window and first <= index < last for w, first, last in self.spans)


@dataclass(frozen=True)
class Steps:
    """The steps of a phase of `num_windows` windows with `num_packs(window)` packs each."""

    num_windows: int
    budget_tokens: int
    num_packs: Callable[[int], int]

    def clock(self, state: State) -> float:
        """Tokens of the budget done before a state; the whole budget at the end."""
        packs = self.num_packs(state.window) if state.pack else 1
        return tokens_done(state.window, state.pack, packs, self.num_windows, self.budget_tokens)

    def walk(self, start: State, batch_packs: Callable[[float], int]) -> Iterator[Step]:
        """The steps from a state on; `batch_packs` gives B at a clock in tokens."""
        state = self._settle(start)
        while state.window < self.num_windows:
            first, clock = state, self.clock(state)
            missing = batch_packs(clock)
            assert missing > 0, missing
            spans = []
            while missing and state.window < self.num_windows:
                end = min(state.pack + missing, self.num_packs(state.window))
                spans.append((state.window, state.pack, end))
                missing -= end - state.pack
                state = self._settle(State(state.window, end))
            yield Step(first, state, clock, tuple(spans))

    def _settle(self, state: State) -> State:
        """The same place, named by the pack that comes next, or by the end (N, 0)."""
        while state.window < self.num_windows and state.pack >= self.num_packs(state.window):
            state = State(state.window + 1)
        return state
