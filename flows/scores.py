"""Held-out scores as a table: languages down, models across: the first, each phase's, the release.

In: the lines that training appends to a run's `log.jsonl`. Out: `ScoreTable`, which the console and
the artifacts of the UI show. Bits per byte; smaller is better.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from schemas.figures import rose
from schemas.language import language_name
from schemas.run import Run


class Figure(BaseModel):
    """None where there is too little text for a figure."""

    bits_per_byte: float | None
    targets: int


class HeldoutScore(BaseModel):
    """One line of kind "heldout"; languages too small for a figure are pooled in two ways.

    `phase` may also be the model before any phase (untrained, start) or the one made of several;
    `clock` is in tokens of the phase.
    """

    phase: str
    step: int
    clock: int = 0
    macro: float | None
    languages: dict[str, Figure]
    pooled: dict[str, dict[str, Figure]] = {}  # by script and by phase of entry


class Step(BaseModel):
    """One line of kind "step"; `tokens` is the phase's clock."""

    phase: str
    step: int
    tokens: int
    loss: float
    lr: float
    tokens_per_s: float = 0.0
    eta_s: float = 0.0


class PhaseEvent(BaseModel):
    """One line of kind "phase"."""

    phase: str
    step: int
    event: str


class TrainingWarning(BaseModel):
    """One line of kind "warning": what went wrong beside the training, which goes on."""

    phase: str
    step: int
    text: str


Event = HeldoutScore | Step | PhaseEvent | TrainingWarning

_KINDS: dict[str, type[Event]] = {
    "heldout": HeldoutScore,
    "step": Step,
    "phase": PhaseEvent,
    "warning": TrainingWarning,
}


def parse(line: str) -> Event | None:
    """A line of log.jsonl, or None for kinds that nobody here reads."""
    fields = json.loads(line)
    kind = _KINDS.get(fields["kind"])
    return kind.model_validate(fields) if kind else None


def read_events(log: Path) -> list[Event]:
    """All whole lines of a log; none when there is no log."""
    if not log.exists():
        return []
    text = log.read_text(encoding="utf-8")
    events = (parse(line) for line in text[: text.rfind("\n") + 1].splitlines())
    return [event for event in events if event is not None]


@dataclass(frozen=True)
class ScoreTable:
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]  # name, bits per byte by column


def score_table(events: Iterable[Event], most_rows: int | None = None) -> ScoreTable | None:
    """The mean first, then languages, most held-out text first; None before the first score.

    A phase's column holds its latest score. Languages too small for a figure stand together, by
    the phase in which mmBERT first saw them. `most_rows` cuts the list of languages.
    """
    columns = {event.phase: event for event in events if isinstance(event, HeldoutScore)}
    if not columns:
        return None
    scores = list(columns.values())
    found = scores[-1].languages
    codes = [code for code in found if found[code].bits_per_byte is not None]
    codes.sort(key=lambda code: -found[code].targets)
    rows = [("mean of languages", tuple(score.macro for score in scores))]
    rows += [
        (language_name(code), tuple(_bits(score.languages.get(code)) for score in scores))
        for code in codes[:most_rows]
    ]
    for phase in scores[-1].pooled.get("phase", {}):
        pools = [score.pooled.get("phase", {}).get(phase) for score in scores]
        if any(_bits(pool) for pool in pools):
            rows.append((f"small ones of {phase}", tuple(map(_bits, pools))))
    return ScoreTable(tuple(columns), tuple(rows))


def risen(events: Iterable[Event], run: Run) -> dict[str, tuple[str, ...]]:
    """For each model, the languages that rose (schemas/figures.py) from `run.before(model)` to it.

    ISO 639-3 codes, the largest rise first; models without any are left out.
    """
    scores = {event.phase: event for event in events if isinstance(event, HeldoutScore)}
    found = {}
    for model, score in scores.items():
        earlier = scores.get(run.before(model) or "")
        rises = {
            code: now - then
            for code, figure in (score.languages.items() if earlier else ())
            if earlier
            and (now := figure.bits_per_byte) is not None
            and (then := _bits(earlier.languages.get(code))) is not None
            and rose(then, now)
        }
        if rises:
            found[model] = tuple(sorted(rises, key=lambda code: -rises[code]))
    return found


def _bits(figure: Figure | None) -> float | None:
    return figure.bits_per_byte if figure else None
