"""Segments from the command line: a run goes on with another mixture from where it stands.

    mmbert remix RECIPE --phase P --set ... --name NAME --continue RUN
    mmbert train RECIPE --manifest P=NAME

The first makes the segment, which begins at the first window that no checkpoint has begun. The
second names it: the run that it continues takes it on, whatever the recipe's mixtures are by now.
Where several runs began P alike, it also names the manifests of the run's other phases.
"""

from __future__ import annotations

import fcntl
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from flows.named_mixtures import OF_MANIFEST, READ
from pipelines.segments import Standing
from schemas import manifest as manifests
from schemas import run as runs
from schemas.errors import UserError
from schemas.find_run import find_run
from schemas.point import newest
from schemas.recipe import Phase, Recipe
from schemas.run import Run, digest_of_weights
from schemas.segments import begun, line_of
from schemas.store import Store, local_path
from trainer.order import Schedule


def standing(store: Store, recipe: Recipe, phase: str, reference: str) -> Standing:
    """Where the run of that name stands; UserError where its phase cannot be changed any more."""
    run_json = find_run(store, reference)
    run, folder = _load(run_json), run_json.parent
    if folder.parent.resolve() != _runs_folder(store):
        raise UserError(
            f"--continue {reference}: {folder} lies outside {store.url}/runs, where `mmbert train "
            "--manifest` looks for the run that takes the change on; move it there, or name the "
            "store that it lies in with --store"
        )
    mine = {found.name: found for found in run.phases}
    if run.recipe != recipe.name or phase not in mine:
        raise UserError(
            f"--continue {reference}: {folder} is a run of {run.recipe}, with phases "
            f"{', '.join(mine)}, and not of {recipe.name}/{phase}; name a run of that"
        )
    if at_work(folder):
        raise UserError(
            f"--continue {reference}: a trainer is at work in {folder} and would pass the window "
            "at which the change begins; stop it with Ctrl-C, which saves a checkpoint"
        )
    line = line_of(store, manifests.load(store.resolve(mine[phase].current)))
    point = newest(folder / "checkpoints", phase)
    window = point.next_window if point else 0
    if window == line[-1].windows:
        raise UserError(
            f"--continue {reference}: no window of {phase} is left to be changed, it has "
            f"{line[-1].windows:,}; leave --continue out to mix another run"
        )
    line = tuple(begun(line, window))
    delivered = Schedule.of(*line).delivered(window)
    return Standing(line[-1], window, delivered.tolist())


def beside(store: Store, recipe: Recipe, phase: str, reference: str) -> dict[str, str]:
    """Manifests (phase -> id) that tell a run from those of its recipe that began a phase alike."""
    run = _load(find_run(store, reference))
    (begun_with,) = (found.manifest for found in run.phases if found.name == phase)
    alike = any(
        (phase, begun_with) in _begun_with(other) and other.id != run.id
        for other in _runs(store, recipe.name)
    )
    return _of_others(run, (phase,)) if alike else {}


def _load(run_json: Path) -> Run:
    try:
        return runs.load(str(run_json))
    except ValidationError as error:
        raise UserError(
            f"{run_json} is no run description of this version; go on with it in the version of "
            "mmbert that trained it"
        ) from error


def _begun_with(run: Run) -> set[tuple[str, str]]:
    return {(phase.name, phase.manifest) for phase in run.phases}


def _of_others(run: Run, named: Container[str]) -> dict[str, str]:
    """The ids of the manifests of a run's phases that are not named."""
    return {p.name: p.current.split("/")[-2] for p in run.phases if p.name not in named}


def at_work(folder: Path) -> bool:
    """Whether a trainer holds a run's folder (trainer/session.py)."""
    try:
        with (folder / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def names_segment(named: Mapping[str, str]) -> bool:
    """Whether one of the manifests (phase -> URL) goes on with another."""
    return any(manifests.load(url).continues for url in named.values())


def describe(recipe: Recipe, store: Store, named: Mapping[str, str]) -> str:
    """Let the run that named manifests go on with take them on; returns the URL of its run.json.

    Raises UserError when there is no such run or several, or when the recipe trains in another way
    by now.
    """
    lines = {phase: line_of(store, manifests.load(url)) for phase, url in named.items()}
    firsts = {p: store.relative(manifests.url_of(store, line[0])) for p, line in lines.items()}
    found = [run for run in _runs(store, recipe.name) if firsts.items() <= _begun_with(run)]
    if not found:
        told = ", ".join(f"{phase}={lines[phase][0].id}" for phase in named)
        raise UserError(
            f"{store.url} has no run of this version that began with {told}, which --manifest goes "
            "on with; name a mixture that is no segment"
        )
    differs = [_difference(run, recipe) for run in found]
    if None not in differs:
        raise UserError(
            f"{differs[0]} is not what run {recipe.name}-{found[0].id} is trained with, which "
            "--manifest goes on with; take it back"
        )
    run, *more = (run for run, key in zip(found, differs, strict=True) if key is None)
    if more:
        told = ", ".join(_told(other, named) for other in (run, *more))
        raise UserError(
            f"--manifest goes on with any of {told}; name the other phases of the one that is "
            "meant, too, or move the rest out of the store"
        )
    segments = {
        phase: store.relative(url) if len(lines[phase]) > 1 else None
        for phase, url in named.items()
    }
    return runs.publish(store, runs.with_segments(store, run, segments))


def _runs(store: Store, recipe: str) -> list[Run]:
    folder = local_path(store.url)
    found = []
    for file in sorted(folder.glob(f"runs/{recipe}-*/run.json")) if folder else []:
        with suppress(ValidationError):  # of another version, which goes on with it
            found.append(runs.load(str(file)))
    return [run for run in found if run.recipe == recipe]


def _runs_folder(store: Store) -> Path | None:
    folder = local_path(store.url)
    return (folder / "runs").resolve() if folder else None


def _told(run: Run, named: Container[str]) -> str:
    others = (f"--manifest {phase}={i}" for phase, i in _of_others(run, named).items())
    return " ".join((f"{run.recipe}-{run.id}", *others))


def _difference(run: Run, recipe: Recipe) -> str | None:
    """The first key of a recipe that trains otherwise than a run, whatever its mixtures are."""
    if [*recipe.phases] != [phase.name for phase in run.phases]:
        return "phases"
    for name in ("seed", "model", "optimiser"):
        if getattr(recipe, name) != getattr(run, name):
            return name
    if not _starts_alike(run, recipe):
        return "start"
    for phase in run.phases:
        ours = recipe.phases[phase.name]
        for key in Phase.model_fields:
            mixed = key in (*OF_MANIFEST, *READ)
            if not mixed and getattr(ours, key) != getattr(phase.settings, key):
                return f"phases.{phase.name}.{key}"
    return None


def _starts_alike(run: Run, recipe: Recipe) -> bool:
    """Whether both start from the same weights in the same way, wherever these lie."""
    if run.start is None or recipe.start is None:
        return run.start is recipe.start
    there = recipe.start.model_copy(update={"model": run.start.settings.model})
    alike = there == run.start.settings
    return alike and digest_of_weights(recipe.start.model) == run.start.digest
