"""`mmbert trace`: what a step of a run sees, and when a run sees a document.

    mmbert trace RUN --step N [--phase P] [--rank R] [--world W]
    mmbert trace RUN --doc ID

RUN is the folder of a run, its name in the store or the start of one. Steps are counted as in its
log.jsonl. `--json` prints one object:

    --step    {run, phase, step, done, clock_tokens, num_packs, rank, world, pieces: [{window, pack,
              place, rank, doc_id, url, source, language, tier, shard, document, start, length}]}
    --doc     {run, name, num_shards, documents: [{doc_id, url, source, language, tier, shard,
              document, num_tokens, seen, planned, left_out, phases: [{phase, standing, sightings:
              [{epoch, window, start, length, fate, pack, place, step, exact}]}]}]}

A piece is tokens [start, start + length) of a document, without BOS and EOS; ranks, places, packs,
windows and epochs count from 0, steps from 1. `standing` and `fate` are those of
trainer/sightings.py; a step that is not `exact` is estimated.

`register(app)` adds the command to the command line; heavy imports wait until it runs.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.options import STORE, AsJson
from schemas.errors import UserError

if TYPE_CHECKING:
    from flows.trace_tables import Part
    from schemas.digest import Json
    from schemas.progress import Progress
    from trainer.sightings import Document, PhaseSightings
    from trainer.timeline import Timeline


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("trace")(trace)


def trace(
    run: Annotated[str, typer.Argument(help="A run: its folder, or its name in the store.")],
    step: Annotated[int | None, typer.Option(min=1, help="What this step sees.")] = None,
    doc: Annotated[
        str | None, typer.Option(metavar="ID", help="When this document is seen: an id or a URL.")
    ] = None,
    phase: Annotated[str | None, typer.Option(help="Of the step, where several have it.")] = None,
    rank: Annotated[int | None, typer.Option(min=0, help="Only what this rank sees.")] = None,
    world: Annotated[
        int | None, typer.Option(min=1, help="The number of ranks; as the run had it by default.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every piece.")] = False,
    store: Annotated[
        str | None,
        typer.Option("--store", help="Where it lies: ./mmbert-store, or the one around a run."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a step of a run sees, or every step that sees a document: past and planned."""
    if (step is None) == (doc is None):
        raise UserError("say what to trace: --step N, or --doc ID")
    if doc is not None:
        if (phase, rank, world) != (None, None, None):
            raise UserError("--phase, --rank and --world choose of a --step: leave them out")
        _trace_document(run, store, doc, every, as_json)
    else:
        assert step is not None
        _trace_step(run, store, step, phase, rank, world, every, as_json)


def _trace_step(
    reference: str,
    store: str | None,
    step: int,
    phase: str | None,
    rank: int | None,
    world: int | None,
    every: bool,
    as_json: bool,
) -> None:
    from flows.console import console
    from flows.trace_tables import of_step
    from trainer.trace import phase_of, trace_step

    console.leave_stdout(as_json)
    with console.stage("trace") as stage:
        timeline = _timeline(reference, store, stage.progress)
        name = phase_of(timeline, step, phase)
        if ahead := timeline.windows_ahead(name, step):
            console.say(f"  {_cost(timeline, name, step, ahead)}")
        found = trace_step(timeline, name, step, rank, world)
        stage.result = timeline.folder.name
    if as_json:
        _print({"run": timeline.folder.name} | asdict(found))
        return
    _show(of_step(found, every))


def _trace_document(
    reference: str, store: str | None, name: str, every: bool, as_json: bool
) -> None:
    from flows.console import console
    from flows.trace_tables import counted, of_document
    from trainer.sightings import find, trace_document

    console.leave_stdout(as_json)
    with console.stage("trace") as stage:
        timeline = _timeline(reference, store, stage.progress, estimate=True)
        documents, num_shards = find(timeline, name, stage.progress)
        found = [(d, trace_document(timeline, d, stage.progress)) for d in documents]
        looked = counted(num_shards, "shard")
        stage.result = f"{timeline.folder.name}: {looked} looked through"
    if as_json:
        told = [_public(document, phases) for document, phases in found]
        run = timeline.folder.name
        _print({"run": run, "name": name, "num_shards": num_shards, "documents": told})
        return
    if not found:
        console.say(
            f"  never seen and not planned: no document of the run has the id or URL {name}"
        )
    for document, phases in found:
        console.say()
        _show(of_document(document, phases, every))


def _timeline(
    reference: str, store: str | None, progress: Progress, estimate: bool = False
) -> Timeline:
    from pydantic import ValidationError

    from flows.console import console
    from schemas import run as runs
    from schemas.find_run import find_run
    from schemas.store import Store
    from trainer.timeline import Timeline

    given = store or os.environ.get("MMBERT_STORE")
    run_json = find_run(Store.at(given or STORE), reference)
    place = Store.at(store) if store else runs.store_of(str(run_json))
    try:
        run = runs.load(str(run_json))
    except ValidationError as error:
        raise UserError(
            f"{run_json} is no run description of this version; trace it with the version of "
            "mmbert that trained it"
        ) from error
    timeline = Timeline(run, place, run_json.parent, estimate, progress)
    for phase, last in timeline.anew.items():
        console.say(
            f"  the steps of {phase} after {last:,} were done with another mixture; from there on "
            "the run goes on with the one that it has taken on since"
        )
    return timeline


def _cost(timeline: Timeline, phase: str, step: int, windows: int) -> str:
    """What it takes to come to a step, said before it is done; plans one window to know."""
    from schemas.figures import duration

    began = time.perf_counter()
    timeline.data(phase).plan(max(timeline.begun(phase), default=-1) + 1)
    took = duration(windows * (time.perf_counter() - began))
    timeline.expected = windows
    return (
        f"step {step:,} of {phase} is to come: about {windows:,} "
        f"window{'s' if windows > 1 else ''} to plan, {took}"
    )


def _public(document: Document, phases: list[PhaseSightings]) -> dict[str, Json]:
    fates = Counter(sighting.fate for phase in phases for sighting in phase.sightings)
    return asdict(document) | {
        "seen": fates["seen"],
        "planned": fates["planned"],
        "left_out": fates["left out"],
        "phases": [asdict(phase) for phase in phases],
    }


def _show(parts: Iterable[Part]) -> None:
    from flows.console import console

    for part in parts:
        if isinstance(part, str):
            console.say(part)
        else:
            console.show(part)


def _print(told: dict[str, Json]) -> None:
    print(json.dumps(told, ensure_ascii=False))
