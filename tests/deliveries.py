"""A run without weights: what its steps deliver, with the log and the journal that it would leave.

Every rank loads its own batches, as in training; `trainer.loop` writes the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from schemas import run as runs
from schemas.recipe import Optimiser
from schemas.recipe import Phase as PhaseSettings
from schemas.run import Run, RunPhase
from schemas.store import Store
from tests.runs import MODEL
from trainer.checkpoint import Point
from trainer.journal import Journal, Lines
from trainer.loop import advance, compare_plans
from trainer.phase import BEGIN, Phase
from trainer.schedule import batch_schedule


@dataclass(frozen=True)
class Delivered:
    """A piece that a rank got at a step."""

    phase: str
    step: int
    rank: int
    window: int
    pack: int
    place: int
    shard: str
    document: int
    start: int
    length: int


def describe(store: Store, phases: Mapping[str, tuple[str, PhaseSettings]]) -> Path:
    """The run.json of a run of phases, each a manifest's URL and its settings."""
    made = Run(
        recipe="tests",
        seed=7,
        tokenizer="",
        heldout="",
        model=MODEL,
        optimiser=Optimiser(),
        phases=tuple(
            RunPhase(name=name, manifest=store.relative(url), settings=settings)
            for name, (url, settings) in phases.items()
        ),
    )
    return Path(runs.publish(store, made.sealed()))


def deliver(run_json: Path, world: int = 1, until: int | None = None) -> list[Delivered]:
    """Every piece of every step of a run on `world` ranks, of which the first `until` are done."""
    run, store = runs.load(str(run_json)), runs.store_of(str(run_json))
    for earlier in ("log.jsonl", "journal.jsonl"):
        run_json.with_name(earlier).unlink(missing_ok=True)
    delivered: list[Delivered] = []
    ends: dict[str, int] = {}
    for phase in run.phases:
        before = ends[phase.settings.after] if phase.settings.after else 0
        part = _phase(run_json, store, phase, world, before, until)
        delivered += part
        ends[phase.name] = max((piece.step for piece in part), default=before)
    return delivered


def _phase(
    run_json: Path, store: Store, phase: RunPhase, world: int, before: int, until: int | None
) -> list[Delivered]:
    url = store.resolve(phase.current)
    data, schedule = Phase(url, store), batch_schedule(phase.settings)
    ranks = [Phase(url, store).batches(rank, world, BEGIN, schedule) for rank in range(world)]
    begins = until is None or before < until
    log = Lines(run_json.with_name("log.jsonl"), write=begins)
    place = {"phase": phase.name, "step": before}
    log.append({"kind": "phase", "event": "start", **place})
    log.append({"kind": "machine", **place, "ranks": world})
    journal = Journal(run_json.parent, write=begins)
    session = SimpleNamespace(
        ranks=SimpleNamespace(wait=lambda: None, require_equal=lambda *_: None),
        journal=journal,
        store=store,
    )
    point, planned = Point.before("tests", phase.name, before), -1
    delivered: list[Delivered] = []
    for parts in zip(*ranks, strict=True):
        done = until is None or point.step < until
        if done:
            planned = compare_plans(session, data, parts[0], point, planned)
        point = advance(point, parts[0], data)
        if done:
            first = {"window": parts[0].first.window, "pack": parts[0].first.pack}
            log.append({"kind": "step", "phase": phase.name, "step": point.step, **first})
        for rank, part in enumerate(parts):
            for pack in filter(None, part.packs):
                for at, piece in enumerate(pack.pieces()):
                    where = (phase.name, point.step, rank, pack.window, pack.index, at)
                    span = (piece.shard, piece.document, piece.start, piece.length)
                    delivered.append(Delivered(*where, *span))
    if begins and (until is None or point.step <= until):
        log.append({"kind": "phase", "event": "end", "phase": phase.name, "step": point.step})
    return delivered
