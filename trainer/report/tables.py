"""The tables of a report: phases, held-out scores by language, exposure by language.

In: `History`. Out: plain rows that the page and the card print. Bits per byte: smaller is better; a
language *rose* in a phase when the phase ends with more bits per byte of it than it began with, at
the three decimals that are shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from schemas.figures import rose
from schemas.language import language_name
from trainer.report.exposure import Exposure
from trainer.report.history import Figure, History, Score


class ScoreRow(NamedTuple):
    """A language, or a pool of small ones, across models."""

    code: str
    name: str
    entry: str  # the first phase that has it
    targets: int
    bits: tuple[float | None, ...]  # by model
    rose: tuple[bool, ...]  # above the model that this one was made from
    change: float | None  # of the last model against the first, as a part of the first


class Rise(NamedTuple):
    model: str
    code: str
    name: str
    before: float
    after: float


@dataclass(frozen=True)
class ScoreTable:
    models: tuple[str, ...]
    macro: ScoreRow
    languages: tuple[ScoreRow, ...]  # the greatest gain first
    pools: tuple[ScoreRow, ...]  # languages with too little text, by mmBERT's phase of entry
    rises: tuple[Rise, ...]  # the greatest first

    def rises_of(self, model: str) -> tuple[Rise, ...]:
        return tuple(rise for rise in self.rises if rise.model == model)

    @property
    def gained(self) -> tuple[ScoreRow, ...]:
        """Languages that the last model predicts better than the first did."""
        return tuple(row for row in self.languages if row.change is not None and row.change < 0)


def score_table(history: History, only: Collection[str] | None = None) -> ScoreTable:
    """The last score of each model, or only of some, side by side; empty where there is none."""
    scores = {name: s for name, s in history.scores.items() if only is None or name in only}
    models = tuple(scores)
    before = tuple(_place(models, history.run.before(model)) for model in models)

    def row(code: str, name: str, targets: int, bits: tuple[float | None, ...]) -> ScoreRow:
        rises = tuple(
            at is not None and rose(bits[at], value) for at, value in zip(before, bits, strict=True)
        )
        first, last = (bits[0], bits[-1]) if bits else (None, None)
        change = (last - first) / first if first and last is not None else None
        return ScoreRow(code, name, history.entry(code), targets, bits, rises, change)

    last = list(scores.values())[-1] if scores else Score(0, None, {}, {})
    rows = [
        row(code, language_name(code), figure.targets, _across(scores, code))
        for code, figure in last.languages.items()
        if figure.bits is not None
    ]
    rows.sort(key=lambda r: (r.change is None, r.change, r.code))
    pools = [
        row("", f"small languages of {name}", figure.targets, _pooled(scores, name))
        for name, figure in last.pooled.items()
        if figure.bits is not None
    ]
    rises = [
        Rise(model, r.code, r.name, r.bits[at], r.bits[i])  # type: ignore[arg-type]
        for r in rows
        for i, (model, at) in enumerate(zip(models, before, strict=True))
        if r.rose[i] and at is not None
    ]
    rises.sort(key=lambda rise: (models.index(rise.model), rise.before - rise.after))
    macro = row("", "mean of languages", 0, tuple(score.macro for score in scores.values()))
    return ScoreTable(models, macro, tuple(rows), tuple(pools), tuple(rises))


class ExposureRow(NamedTuple):
    """What a model has been trained on of one language."""

    code: str
    name: str
    entry: str
    by_phase: tuple[float | None, ...]  # tokens of each phase of the run that has begun
    total: Exposure


def exposure_table(history: History, model: str) -> tuple[ExposureRow, ...]:
    """Every language that `model` has been trained on, the most tokens first."""
    parts: list[Mapping[str, Exposure]] = [
        history.exposure_in(phase.name) for phase in history.begun
    ]
    return tuple(
        ExposureRow(
            code,
            language_name(code),
            history.entry(code),
            tuple(part[code].tokens if code in part else None for part in parts),
            total,
        )
        for code, total in history.exposure(model).items()
    )


def absences(history: History, model: str) -> dict[str, tuple[str, ...]]:
    """Languages that the phases of a model wanted and that none of them delivered, by reason."""
    seen = history.exposure(model)
    reasons: dict[str, str] = {}
    for name in history.branch(model):
        for absence in history.phase(name).manifest.absent:
            reasons[absence.language] = absence.reason
    found: dict[str, list[str]] = {}
    for code in sorted(reasons.keys() - seen.keys()):
        found.setdefault(reasons[code], []).append(code)
    return {why: tuple(codes) for why, codes in sorted(found.items())}


def _place(models: tuple[str, ...], name: str | None) -> int | None:
    return models.index(name) if name in models else None


def _across(scores: Mapping[str, Score], code: str) -> tuple[float | None, ...]:
    nothing = Figure(None, 0)
    return tuple(score.languages.get(code, nothing).bits for score in scores.values())


def _pooled(scores: Mapping[str, Score], phase: str) -> tuple[float | None, ...]:
    nothing = Figure(None, 0)
    return tuple(score.pooled.get(phase, nothing).bits for score in scores.values())
