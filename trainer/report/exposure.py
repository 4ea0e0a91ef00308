"""Exposure: how much of each language a branch of a run has been trained on so far.

    rows    C(w) of a stratum before window w: exact (trainer/order.py), but within two rows before
            the window from which the manifest continues another; inside a window, a share p of its
            packs counts as p of its rows
    tokens  rows x T / R, the mean tokens of a row of the stratum; BOS and EOS counted
    epochs  tokens over the tokens that the phase had of the language

It is computed from manifests and a place alone and never counted; rows that an exclusion leaves out
from a later window on are among them. A branch is a phase and all that it came after: tokens and
epochs add up over it, so that 2 epochs may be one of each of two phases. What a model had seen
before the run started from it is not known and not counted.

In the log: {"kind": "exposure", phase, step, clock, languages: {code: {tokens, epochs}}}, beside
each held-out score; languages that had nothing yet are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from schemas.digest import Json
from schemas.language import split_subset
from schemas.manifest import Manifest, load
from schemas.rows import I64
from schemas.run import Run
from schemas.store import Store
from trainer.order import Schedule

if TYPE_CHECKING:
    from trainer.checkpoint import Point  # it imports torch, which a report has no use for


class Exposure(NamedTuple):
    tokens: float
    epochs: float


Exposures = Mapping[str, Exposure]  # by ISO 639-3 code


def rows_delivered(manifest: Manifest, window: int, share: float = 0.0) -> list[float]:
    """Rows of each stratum that lie before a share of the packs of a window; exact at share 0."""
    before = _rows(manifest, window)
    if not share:
        return [float(rows) for rows in before]
    after = _rows(manifest, window + 1)
    return [float(a) + share * (b - a) for a, b in zip(before, after, strict=True)]


def of_phase(manifest: Manifest, window: int, share: float = 0.0) -> dict[str, Exposure]:
    """What a phase alone has delivered of each language before a place in it."""
    tokens: dict[str, float] = {}
    for stratum, rows in zip(manifest.strata, rows_delivered(manifest, window, share), strict=True):
        if rows:
            code = split_subset(stratum.language)[0]
            mean = stratum.tokens_available / stratum.rows_available
            tokens[code] = tokens.get(code, 0.0) + rows * mean
    available = {language.language: language.tokens_available for language in manifest.languages}
    return {code: Exposure(n, n / available[code]) for code, n in tokens.items()}


def total(parts: list[Exposures]) -> dict[str, Exposure]:
    """Added up, the most tokens first."""
    added: dict[str, Exposure] = {}
    for part in parts:
        for code, (tokens, epochs) in part.items():
            old = added.get(code, Exposure(0.0, 0.0))
            added[code] = Exposure(old.tokens + tokens, old.epochs + epochs)
    return dict(sorted(added.items(), key=lambda item: (-item[1].tokens, item[0])))


def ancestors(run: Run, phase: str) -> list[str]:
    """The phases that a phase comes after, the first of the branch first."""
    after = {phase.name: phase.settings.after for phase in run.phases}
    found: list[str] = []
    name = after[phase]
    while name is not None:
        found.insert(0, name)
        name = after[name]
    return found


def line(run: Run, manifest_of: Callable[[str], Manifest], point: Point) -> dict[str, Json] | None:
    """The log line of a point, or None outside the phases of the run."""
    if point.phase not in {phase.name for phase in run.phases}:
        return None
    manifest = manifest_of(point.phase)
    # The clock counts windows and shares of them: budget x (window + pack / packs) / N.
    share = point.clock_tokens * manifest.windows / manifest.budget_tokens - point.window
    here = of_phase(manifest, point.window, share if point.pack else 0.0)
    before = [
        of_phase(manifest_of(name), manifest_of(name).windows)
        for name in ancestors(run, point.phase)
    ]
    languages: dict[str, Json] = {
        code: {"tokens": round(tokens), "epochs": float(f"{epochs:.5g}")}
        for code, (tokens, epochs) in total([*before, here]).items()
    }
    return {
        "kind": "exposure",
        "phase": point.phase,
        "step": point.step,
        "clock": round(point.clock_tokens),
        "languages": languages,
    }


def manifests_of(run: Run, store: Store) -> Callable[[str], Manifest]:
    """The manifest of each phase of a run, read once."""
    urls = {phase.name: store.resolve(phase.current) for phase in run.phases}
    return lru_cache(lambda phase: load(urls[phase]))


def _rows(manifest: Manifest, window: int) -> I64:
    """C(window) of each stratum."""
    return Schedule.of(manifest).delivered(window)
