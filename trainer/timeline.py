"""The steps of a run, past and to come, counted as its log counts them.

    before(phase)    the steps done before its first one: all up to the end of the phase it comes
                     after; phases that come after the same one count the same numbers
    walk(phase)      its steps one after another, by the packs that each window has

The log knows where some steps begin, and the journal the packs of every window that was begun: a
step of the past is found by walking from the nearest of these, without planning a window. Those to
come are walked to from the last one on, and their windows planned, one after another, or, where
`estimate` says so, counted as the mean of the others.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from operator import itemgetter
from pathlib import Path
from statistics import fmean

from schemas.errors import UserError
from schemas.manifest import url_of
from schemas.point import newest
from schemas.progress import Progress, silent
from schemas.run import Run
from schemas.store import Store
from trainer.journal import JournalLine, other_plan
from trainer.past import PhasePast, read_past
from trainer.phase import Phase
from trainer.plan import WindowPlan
from trainer.report.exposure import ancestors
from trainer.schedule import batch_schedule
from trainer.steps import BEGIN, State, Step, Steps


class Timeline:
    """The run of a folder; `progress` is told of windows to come that are planned."""

    def __init__(
        self,
        run: Run,
        store: Store,
        folder: Path,
        estimate: bool = False,
        progress: Progress = silent,
    ) -> None:
        self.run = run
        self.folder = folder
        self.phases = {phase.name: phase for phase in run.phases}
        self.past: dict[str, PhasePast] = {
            name: past for name, past in read_past(folder).items() if name in self.phases
        }  # in the order in which they began
        self.data = cache(self._open)
        self.before = cache(self._before)
        self.expected = 0  # windows that will be planned, where somebody knows
        self.anew: dict[str, int] = {}  # of phases, the last step that a change of mixture left
        self.store = store
        self._estimate = estimate
        self._progress = progress
        self._planned: dict[tuple[str, int], int] = {}  # packs of windows
        for name in self.past:
            self._take_back(name)

    def is_done(self, phase: str, step: int) -> bool:
        return phase in self.past and step <= self.past[phase].last

    def num_ranks(self, phase: str, step: int) -> int:
        """How many ranks did a step, or would do it if the run went on as it stands."""
        past = self.past.get(phase) or next(reversed(self.past.values()), None)
        return past.ranks_at(step) if past else 1

    def begun(self, phase: str) -> Mapping[int, JournalLine]:
        """The windows of a phase that have been begun."""
        return self.past[phase].windows if phase in self.past else {}

    def walk(self, phase: str, since: int | State = 0) -> Iterator[tuple[int, Step]]:
        """The steps of a phase with their numbers, from one on that lies not behind the step or
        place `since`; UserError where the journal says otherwise."""
        data, begun = self.data(phase), self.begun(phase)
        steps = Steps(data.windows, data.manifest.budget_tokens, self._counter(phase))
        first, start = self.mark(phase, since) or (self.before(phase) + 1, BEGIN)
        walked = steps.walk(start, batch_schedule(self.phases[phase].settings))
        for number, step in enumerate(walked, first):
            for window, first, _ in step.spans:
                if first == 0 and window in begun and begun[window].first_step != number:
                    raise UserError(
                        f"{self.folder / 'journal.jsonl'} has window {window} of {phase} begun "
                        f"with step {begun[window].first_step:,}, and by run.json it begins with "
                        f"{number:,}: they are not of one run, bring back the one that was trained"
                    )
            yield number, step

    def mark(self, phase: str, since: int | State) -> tuple[int, State] | None:
        """The last step that the log tells the place of and that lies not behind `since`."""
        marks = self.past[phase].marks if phase in self.past else []
        at = bisect_right(marks, since, key=itemgetter(isinstance(since, State)))
        return marks[at - 1] if at else None

    def plan(self, phase: str, window: int) -> WindowPlan:
        """A window's plan; UserError where it was begun with another one."""
        plan, line = self.data(phase).plan(window), self.begun(phase).get(window)
        if line and line.plan_digest != plan.digest():
            raise UserError(other_plan(line, plan.digest()))
        self._planned[phase, window] = plan.num_packs
        return plan

    def windows_ahead(self, phase: str, step: int) -> int:
        """How many windows must be planned to come to a step, about."""
        if self.is_done(phase, step):
            return 0
        twin = Timeline(self.run, self.store, self.folder, estimate=True)
        ahead = 0
        for name in (*ancestors(self.run, phase), phase):
            if name != phase and name in self.past and self.past[name].ended:
                continue
            reached = last = self.data(name).windows - 1
            if name == phase:
                reached = next(
                    (s.after.window for n, s in twin.walk(name, step) if n >= step), last
                )
            ahead += max(0, min(reached, last) - max(self.begun(name), default=-1))
        return ahead

    def _take_back(self, phase: str) -> None:
        """Forget the steps behind a phase's checkpoint that were done with another mixture than the
        one it goes on with from there: its next start forgets them, too."""
        if self.phases[phase].segment is None:
            return
        *before, current = self.data(phase).line
        point = newest(self.folder / "checkpoints", phase)
        step, window = (point.step, point.next_window) if point else (self.past[phase].before, 0)
        lines = [line for n, line in self.begun(phase).items() if n >= current.from_window]
        if not lines or current.from_window < window:
            return
        urls = [url_of(self.store, manifest) for manifest in before]
        plans = (Phase(url, self.store).plan(lines[0].window) for url in urls)
        if any(plan.digest() == lines[0].plan_digest for plan in plans):
            self.past[phase].take_back(step)
            self.anew[phase] = step

    def _open(self, phase: str) -> Phase:
        return Phase(self.store.resolve(self.phases[phase].current), self.store)

    def _before(self, phase: str) -> int:
        if phase in self.past:
            return self.past[phase].before
        after = self.phases[phase].settings.after
        if after is None:
            if self.run.start and not self._estimate:
                raise UserError(
                    f"{phase} of {self.folder} has not begun, and its steps are counted on from "
                    "those of the model that it starts from: begin it, then trace it"
                )
            return 0
        if after in self.past and self.past[after].ended:
            return self.past[after].last
        last = self.past[after].last if after in self.past else 0
        return max((number for number, _ in self.walk(after, last)), default=self.before(after))

    def _counter(self, phase: str) -> Callable[[int], int]:
        """The packs of each window of a phase."""
        begun = self.begun(phase)
        last = max(begun, default=-1)
        mean = self._mean_packs(phase) if self._estimate else 0

        def num_packs(window: int) -> int:
            if window in begun:
                return begun[window].packs
            if mean and (phase, window) not in self._planned:
                return mean if window > last else 0  # a window without packs is never begun
            return self._plan_ahead(phase, window)

        return num_packs

    def _mean_packs(self, phase: str) -> int:
        """Packs of a window to come; at least one."""
        if begun := self.begun(phase):
            return max(1, round(fmean(line.packs for line in begun.values())))
        manifest = self.data(phase).manifest
        return math.ceil(manifest.budget_tokens / manifest.windows / manifest.packing.pack_tokens)

    def _plan_ahead(self, phase: str, window: int) -> int:
        if (phase, window) not in self._planned:
            self._progress("windows planned", len(self._planned), self.expected)
            self._planned[phase, window] = self.data(phase).plan(window).num_packs
        return self._planned[phase, window]
