"""What a run has done, as its log and its journal tell it.

In: log.jsonl and journal.jsonl of a run's folder (trainer/journal.py). Out: of each phase that has
begun, the steps it has done, on how many ranks, and its windows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.journal import Journal, JournalLine
from trainer.steps import State

MARK_EVERY = 1_000  # steps; to walk so many takes milliseconds

Fields = Mapping[str, Any]  # a line of the log


@dataclass
class PhasePast:
    """A phase that has begun. Steps are counted as in the log, over the phases it came after."""

    before: int  # the step after which it began
    last: int  # its last step so far
    ended: bool = False
    num_ranks: dict[int, int] = field(default_factory=dict)  # by the step after which they began
    windows: dict[int, JournalLine] = field(default_factory=dict)
    marks: list[tuple[int, State]] = field(default_factory=list)  # some steps, where they begin

    def ranks_at(self, step: int) -> int:
        """How many ranks did a step."""
        begun = [after for after in self.num_ranks if after < step]
        return self.num_ranks[max(begun)] if begun else 1

    def take_back(self, step: int) -> None:
        """Forget what was done after a step."""
        self.last, self.ended = min(self.last, step), False
        self.windows = {w: line for w, line in self.windows.items() if line.first_step <= step}
        self.marks = [(number, place) for number, place in self.marks if number <= step]


def read_past(folder: Path) -> dict[str, PhasePast]:
    """The phases of a run that have begun, by name."""
    past = _read_log(folder / "log.jsonl")
    for line in Journal(folder, write=False).read():
        if line.phase in past:
            past[line.phase].windows[line.window] = line
    return past


def _read_log(path: Path) -> dict[str, PhasePast]:
    past: dict[str, PhasePast] = {}
    step_line, steps = "", 0
    if not path.exists():
        return past
    with path.open(encoding="utf-8") as file:
        for text in file:
            if not text.endswith("\n"):
                break  # cut by a kill
            # A long run has half a million steps: of those in a row, only some are parsed.
            if text.startswith('{"kind": "step"'):
                step_line, steps = text, steps + 1
                if steps % MARK_EVERY:
                    continue
                text = ""
            for line in filter(None, (step_line, text)):
                _take(past, json.loads(line))
            step_line = ""
    if step_line:
        _take(past, json.loads(step_line))
    return past


def _take(past: dict[str, PhasePast], line: Fields) -> None:
    phase, step = line["phase"], line["step"]
    match line["kind"]:
        case "phase" if line["event"] == "start":
            past[phase] = PhasePast(step, step)
        case "phase" if phase in past:
            past[phase].ended = True
        case "step" if phase in past:
            past[phase].last = step
            past[phase].marks.append((step, State(line["window"], line["pack"])))
        case "machine" if phase in past:
            past[phase].num_ranks[step] = line["ranks"]
