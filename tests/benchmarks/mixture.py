"""The plan of `base` beside mmBERT's counts: tokens of each phase's pool, language by language.

    planned     the recipe's shares, tau and caps over published sizes (flows/supply.py), by the
                arithmetic that makes manifests; nothing is fitted to the counts
    published   mmBERT's counts by language: code,pretrain,extend,decay_eng,decay_mid,decay_all
    slope, R2   of log(published) on log(planned)

The counts are mmBERT's statistics/language_counts.csv; they are read where `counts` says and are no
part of this repository.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.estimate import pool_targets, reading
from flows.job import Job
from flows.supply import published
from schemas.errors import UserError
from schemas.language import entry_phase
from schemas.recipe import Recipe
from tests.benchmarks.measure import Cell, Table
from tests.benchmarks.mixture_reasons import Reasons

COLUMNS = {  # of the counts, by phase of the recipe
    "pretrain": "pretrain",
    "extend": "extend",
    "decay-eng": "decay_eng",
    "decay-cont": "decay_mid",
    "decay-all": "decay_all",
}
BY_HAND = ("eng", "code")  # their shares are set, not computed
WORST = 10


@dataclass(frozen=True)
class Mixture:
    """Tokens of a phase's pool by ISO 639-3 code."""

    phase: str
    tau: float
    max_epochs: float
    planned: dict[str, int]
    published: dict[str, int]
    available: dict[str, int]  # that FineWeb2 holds by the sizes of v2.1

    def both(self, codes: Iterable[str] | None = None) -> list[str]:
        """The languages that temperature weighs on both sides, of some or of all."""
        wanted = self.published if codes is None else codes
        return [c for c in wanted if c not in BY_HAND and c in self.planned and c in self.published]

    def fit(self, codes: Iterable[str]) -> tuple[float, float]:
        """Slope and R2 in logarithms."""
        codes = list(codes)
        x = np.log([self.planned[code] for code in codes])
        y = np.log([self.published[code] for code in codes])
        return float(np.polyfit(x, y, 1)[0]), float(np.corrcoef(x, y)[0, 1] ** 2)

    def ratio(self, code: str) -> float:
        return self.published[code] / self.planned[code]

    def outgrown(self, code: str) -> bool:
        """Whether mmBERT took more of it than v2.1 holds, as often as the phase allows it."""
        return self.published[code] > 1.02 * self.max_epochs * self.available.get(code, 0)


def run(counts: Path, plot: Path | None = None) -> list[Table]:
    """Raises UserError when the counts are not there."""
    mixtures = compare(Job(recipe="base").load(), read_counts(counts))
    if plot is not None:
        from tests.benchmarks.mixture_plot import draw

        draw(mixtures, plot)
    reasons = Reasons(mixtures)
    worst = [_worst(mixture, "108", reasons) for mixture in mixtures]
    return [_fits(mixtures), _by_hand(mixtures), *worst, _worst(mixtures[-1], "all", reasons)]


def read_counts(path: Path) -> dict[str, dict[str, int]]:
    """Column -> code -> tokens, languages without any left out."""
    if not path.is_file():
        raise UserError(
            f"{path} is not there: give mmBERT's published counts by language (its "
            "statistics/language_counts.csv) with --counts FILE"
        )
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {
        column: {row["code"]: int(row[column]) for row in rows if int(row[column])}
        for column in COLUMNS.values()
    }


def compare(recipe: Recipe, counts: dict[str, dict[str, int]]) -> list[Mixture]:
    """The phases of a recipe, planned from published sizes alone."""
    supplies = [s for name, source in recipe.sources.items() for s in published(name, source)]
    mixtures = []
    for name, phase in recipe.phases.items():
        read = reading(name, phase, supplies)
        planned: dict[str, int] = {}
        available: dict[str, int] = {}
        for (supply, _), target in zip(read, pool_targets(name, phase, read), strict=True):
            planned[supply.code] = planned.get(supply.code, 0) + target
            available[supply.code] = available.get(supply.code, 0) + supply.tokens
        told = counts[COLUMNS[name]]
        mixtures.append(Mixture(name, phase.tau, phase.max_epochs, planned, told, available))
    return mixtures


def groups(mixture: Mixture) -> dict[str, list[str]]:
    """The languages of a phase by when they entered."""
    found = mixture.both()
    first = [code for code in found if entry_phase(code) == "pretrain"]
    later = [code for code in found if entry_phase(code) in ("pretrain", "extend")]
    held = [code for code in later if not mixture.outgrown(code)]
    return {"59": first, "108": later, "108, as far as v2.1 holds them": held, "all": found}


def tail(mixture: Mixture) -> tuple[int, int]:
    """Tokens, planned and published, of what enters in the phase itself."""
    new = ("decay-all", "")
    return (
        sum(n for code, n in mixture.planned.items() if entry_phase(code) in new and code != "mul"),
        sum(n for code, n in mixture.published.items() if entry_phase(code) in new),
    )


def _fits(mixtures: list[Mixture]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for mixture in mixtures:
        seen: list[list[str]] = []
        for group, codes in groups(mixture).items():
            if codes not in seen:
                seen.append(codes)
                slope, r2 = mixture.fit(codes)
                rows.append((mixture.phase, group, len(codes), slope, r2))
    planned, published_tokens = tail(mixtures[-1])
    return Table(
        "The mixtures of base, planned from published sizes, beside mmBERT's published counts",
        ("phase", "languages", "number", "slope", "R2"),
        tuple(rows),
        (
            f"the tail of decay-all: {planned / 1e9:.2f} B tokens planned, "
            f"{published_tokens / 1e9:.2f} B published",
            "59, 108: the languages of pretraining and of extension but English and code",
            "as far as v2.1 holds them: without those of which mmBERT took more than v2.1 has",
        ),
    )


def _by_hand(mixtures: list[Mixture]) -> Table:
    rows = []
    for mixture in mixtures:
        cells: list[Cell] = [mixture.phase]
        for code in BY_HAND:
            cells += [mixture.planned[code] / 1e9, mixture.published[code] / 1e9]
        cells.append(sum(mixture.published.values()) / 1e9)
        rows.append(tuple(cells))
    columns = ("phase", "English", "published", "code", "published", "pool, published")
    notes = ("English of Wikipedia is in MegaWika, whose languages nobody publishes",)
    return Table(
        "What shares set by hand come to, in billions of tokens", columns, tuple(rows), notes
    )


def _worst(mixture: Mixture, group: str, reasons: Reasons) -> Table:
    codes = groups(mixture)[group]
    by_distance = sorted(codes, key=lambda code: -abs(np.log(mixture.ratio(code))))
    rows = tuple(
        (
            code,
            mixture.planned[code] / 1e6,
            mixture.published[code] / 1e6,
            mixture.ratio(code),
            reasons.why(mixture, code),
        )
        for code in by_distance[:WORST]
    )
    title = f"{mixture.phase}: the {WORST} of {len(codes)} languages that are farthest off"
    return Table(title, ("code", "planned M", "published M", "ratio", "why"), rows)
