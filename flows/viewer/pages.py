"""The pages of the viewer: what each shows, taken from the shelf; the words are in pages/*.j2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from flows.curves import AXIS, heldout_plot, loss_plot
from flows.mixture_plot import mixture_plot, shares
from flows.scores import score_table
from flows.viewer.shelf import SeenRun, View
from flows.viewer.templates import render
from pipelines.card.facts import facts_of
from pipelines.card.figures import FEW, mixture_figure
from pipelines.difference import compare
from pipelines.holdings import HeldManifest, HeldStratum
from schemas.find_manifest import MAIN
from schemas.manifest import Manifest
from schemas.stratum import HELDOUT

T = TypeVar("T")

MOST_READERS = 24
RUN_FILES = (
    ("run.json", "what is trained, on which mixtures"),
    ("log.jsonl", "every step and every score"),
    ("journal.jsonl", "which window began at which step; mmbert trace reads it"),
    ("trainer.log", "what the trainer printed"),
)


def front(request: Request) -> HTMLResponse:
    view = _view(request)
    return render(request, "front", view=view, recipes=_recipes(view))


def run(request: Request) -> HTMLResponse:
    view = _view(request)
    name = request.path_params["name"]
    found = _or_404(view.run(name), f"run {name}")
    plots: list[str] = []
    table = None
    if found.story is not None:
        drawn = (f(found.held.run, found.story) for f in (heldout_plot, loss_plot))
        plots = [Markup(svg) for svg in drawn if svg is not None]
        table = score_table(found.story.latest)
    return render(
        request,
        "run",
        view=view,
        run=found,
        files=RUN_FILES,
        plots=plots,
        axis=AXIS,
        table=table,
        done=_done(found),
        versions=[other for other in view.runs if other.held.run.recipe == found.held.run.recipe],
    )


def mixture(request: Request) -> HTMLResponse:
    view = _view(request)
    path = request.path_params["path"]
    held = _or_404(view.mixture(path), f"mixture {path}")
    against = request.query_params.get("against", "")
    choices = _choices(view, held)
    if against:
        other = _or_404(view.mixture(against), f"mixture {against}")
        difference = compare(other.manifest, held.manifest)
        plot = mixture_plot(shares(held.manifest), shares(other.manifest))
        return render(
            request,
            "difference",
            held=held,
            other=other,
            difference=difference,
            plot=Markup(plot),
            choices=choices,
            against=against,
        )
    facts = facts_of(held.manifest, {})
    return render(
        request,
        "mixture",
        view=view,
        held=held,
        facts=facts,
        few=FEW,
        plot=Markup(mixture_figure(facts, _beside(view, held))),
        choices=choices,
        against="",
        runs=[r for r in view.runs if _reads(r, held, view)],
    )


def source(request: Request) -> HTMLResponse:
    view = _view(request)
    name, tier = request.path_params["source"], request.query_params.get("tier", "all")
    held = [s for s in view.strata if s.stratum.name.source == name and s.stratum.name.tier == tier]
    if not held:
        raise HTTPException(404, f"this store has no data of {name}, tier {tier}")
    found = next(s for s in view.sources if (s.name, s.tier) == (name, tier))
    held.sort(key=lambda s: -s.stratum.tokens)
    return render(request, "source", source=found, held=held, heldout=tier == HELDOUT)


def stratum(request: Request) -> HTMLResponse:
    view = _view(request)
    path = request.path_params["path"]
    held = _or_404(view.stratum(path), f"stratum {path}")
    identity = held.stratum.id
    readers = [m for m in view.mixtures if any(s.id == identity for s in m.manifest.strata)]
    return render(
        request,
        "stratum",
        held=held,
        reasons=_reasons(held),
        readers=readers[:MOST_READERS],
    )


def problem(request: Request, error: Exception) -> HTMLResponse:
    assert isinstance(error, HTTPException)
    return render(
        request, "problem", error.status_code, status_code=error.status_code, why=error.detail
    )


@dataclass(frozen=True)
class Recipe:
    """The mixtures of a recipe, by phase."""

    name: str
    phases: dict[str, list[HeldManifest]]


def _recipes(view: View) -> list[Recipe]:
    found: dict[str, Recipe] = {}
    for held in view.mixtures:
        m = held.manifest
        phases = found.setdefault(m.recipe, Recipe(m.recipe, {})).phases
        phases.setdefault(m.phase, []).append(held)
    return list(found.values())


@dataclass(frozen=True)
class Choice:
    """A mixture that another one can be held against."""

    path: str
    told: str


def _choices(view: View, held: HeldManifest) -> list[Choice]:
    """The one before first, then `main`, then the rest of the phase, then those of other phases."""
    mine = held.manifest
    others = [m for m in view.mixtures if m.manifest.id != mine.id]
    same = [m for m in others if (m.manifest.recipe, m.manifest.phase) == (mine.recipe, mine.phase)]
    earlier = [m for m in same if m.files.written <= held.files.written]
    before = max(earlier, key=lambda m: m.files.written, default=None)

    def place(m: HeldManifest) -> tuple[bool, bool, bool, bool]:
        recipe, phase = m.manifest.recipe == mine.recipe, m.manifest.phase == mine.phase
        return m is not before, not (recipe and phase and MAIN in m.names), not recipe, not phase

    found = []
    for m in sorted(others, key=place):
        name = ", ".join(m.names) or m.manifest.id
        told = f"{m.manifest.recipe}/{m.manifest.phase}: {name}"
        if m is before:
            told += " (the version before)"
        path = f"{m.manifest.recipe}/{m.manifest.phase}/{m.manifest.id}"
        found.append(Choice(path, told))
    return found


def _beside(view: View, held: HeldManifest) -> list[Manifest]:
    mine = held.manifest
    return [
        m.manifest
        for m in view.mixtures
        if m.manifest.recipe == mine.recipe and m.manifest.phase != mine.phase and MAIN in m.names
    ]


def _reads(seen: SeenRun, held: HeldManifest, view: View) -> bool:
    url = f"{view.store.relative(held.folder)}/manifest.json"
    return any(url in (phase.manifest, phase.current) for phase in seen.held.run.phases)


def _done(seen: SeenRun) -> dict[str, float]:
    """The part of each phase that is trained."""
    found = {}
    for phase in seen.held.run.phases:
        series = seen.story.loss.get(phase.name) if seen.story else None
        step = seen.story.step if seen.story else None
        tokens = series.x[-1] if series and series.x else 0.0
        if step is not None and step.phase == phase.name:
            tokens = step.tokens
        is_made = phase.name in seen.held.made
        found[phase.name] = 1.0 if is_made else min(1.0, tokens / phase.settings.budget_tokens)
    return found


def _reasons(held: HeldStratum) -> list[tuple[str, int]]:
    dropped = held.stratum.ledger.dropped
    return sorted(dropped.items(), key=lambda item: (-item[1], item[0]))


def _or_404(found: T | None, wanted: str) -> T:
    if found is None:
        raise HTTPException(404, f"this store has no {wanted}")
    return found


def _view(request: Request) -> View:
    view = request.app.state.shelf.view()
    assert isinstance(view, View)
    return view
