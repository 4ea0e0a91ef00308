"""I8: what a trace says of a step is what the loader delivered: at any number of ranks, over batch
warm-up, before, in and after training.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas import manifest as manifests
from schemas import run as runs
from schemas.errors import UserError
from schemas.manifest import Continuation
from schemas.store import Store
from tests.deliveries import Delivered, deliver
from tests.runs import alone, make_run
from tests.traced import (
    AFTER,
    GROWING,
    STRATA,
    in_order,
    run_of,
    scanned,
    timeline,
    told_of,
    watch_plans,
)
from trainer import past
from trainer.journal import Lines
from trainer.loop import train
from trainer.order import Schedule
from trainer.sightings import find, trace_document
from trainer.steps import State, Step
from trainer.trace import TracedStep, phase_of, trace_step


def pieces(found: TracedStep) -> list[Delivered]:
    return [
        Delivered(
            found.phase, found.step, p.rank, p.window, p.pack, p.place, p.shard, p.document,
            p.start, p.length,
        )
        for p in found.pieces
    ]  # fmt: skip


def by_step(delivered: list[Delivered]) -> dict[int, list[Delivered]]:
    """In the order of the global batch, whatever rank had it."""
    steps = defaultdict(list)
    for piece in sorted(delivered, key=lambda d: (d.step, d.window, d.pack, d.place)):
        steps[piece.step].append(piece)
    return steps


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_step_is_what_the_ranks_were_given(tmp_path: Path, world: int) -> None:
    run_json = run_of(tmp_path)
    steps = by_step(deliver(run_json, world))
    told = timeline(run_json)
    sizes = [len({(p.window, p.pack) for p in steps[step]}) for step in steps]
    assert sizes[0] == 1 < max(sizes) == 5  # the batch grew
    for step, expected in steps.items():
        phase = phase_of(told, step, None)
        found = trace_step(told, phase, step)
        assert pieces(found) == expected
        assert (found.done, found.world) == (True, world)
        for rank in range(world):
            mine = [piece for piece in expected if piece.rank == rank]
            assert pieces(trace_step(told, phase, step, rank)) == mine
    other = trace_step(told, "extend", max(steps) - 1, rank=1, world=2)
    assert {piece.rank for piece in other.pieces} == {1}


def test_a_trace_ahead_says_what_then_is_delivered(tmp_path: Path) -> None:
    run_json = run_of(tmp_path)
    unbegun = timeline(run_json)
    steps = by_step(deliver(run_json, until=11))
    half = timeline(run_json)
    for step in (1, 11, 12, 17, max(steps)):
        (phase,) = {piece.phase for piece in steps[step]}
        for told in (unbegun, half):
            found = trace_step(told, phase, step, world=1)
            assert pieces(found) == steps[step]
            assert found.done == (told is half and step <= 11)
    last = max(piece.step for part in steps.values() for piece in part if piece.phase == "pretrain")
    deliver(run_json, until=last)
    between = timeline(run_json)
    assert between.past.keys() == {"pretrain"}
    assert (
        pieces(trace_step(between, phase_of(between, last + 1, None), last + 1)) == steps[last + 1]
    )
    assert half.windows_ahead("pretrain", 11) == 0
    assert 0 < half.windows_ahead("pretrain", 17) <= half.data("pretrain").windows
    assert half.windows_ahead("extend", max(steps)) > half.data("extend").windows


def test_a_trace_of_the_past_plans_the_windows_of_its_step_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_json = run_of(tmp_path)
    steps = by_step(deliver(run_json))
    told = timeline(run_json)
    planned = watch_plans(told, "extend", monkeypatch)
    step = max(steps) - 2
    trace_step(told, "extend", step)
    assert planned == {piece.window for piece in steps[step]}


def test_a_trace_begins_at_the_nearest_step_that_the_log_tells_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "MARK_EVERY", 4)
    run_json = run_of(tmp_path)
    steps = by_step(deliver(run_json))
    told = timeline(run_json)
    walked: list[int] = []
    whole = told.walk

    def counted(phase: str, since: int | State = 0) -> Iterator[tuple[int, Step]]:
        for number, step in whole(phase, since):
            walked.append(number)
            yield number, step

    monkeypatch.setattr(told, "walk", counted)
    for step, expected in steps.items():
        walked.clear()
        assert pieces(trace_step(told, phase_of(told, step, None), step)) == expected
        assert len(walked) <= 5
    assert len(steps) > 20
    (seen,) = {(p.shard, p.document) for p in steps[max(steps)][-1:]}
    (document,) = (
        d
        for piece in trace_step(told, "extend", max(steps)).pieces[-1:]
        for d in find(told, piece.doc_id)[0]
    )
    walked.clear()
    found = told_of(document, trace_document(told, document))
    expected = scanned([piece for part in steps.values() for piece in part], *seen)
    assert in_order(found) == in_order([replace(piece, rank=0) for piece in expected])
    assert len(walked) <= 5 * len(found) + 2


def test_a_run_that_goes_on_with_another_mixture_is_traced_through_both(tmp_path: Path) -> None:
    run_json = run_of(tmp_path, epochs=3)
    store = Store.at(str(tmp_path))
    first = runs.load(str(run_json)).phases[0]
    before = manifests.load(store.resolve(first.manifest))
    window, rows = 6, np.array([120, 400, 3])
    done = Schedule.of(before).delivered(window)
    assert (done < rows).all()
    after = before.model_copy(
        update={
            "knots": (window,),
            "continues": Continuation(manifest=before.id, from_window=window),
            "strata": tuple(
                share.model_copy(update={"rows": int(k), "knots": (int(d),)})
                for share, k, d in zip(before.strata, rows, done, strict=True)
            ),
        }
    )
    table = manifests.load_shards(store.resolve(first.manifest))
    segment = store.relative(manifests.publish(store, after.sealed(), table))
    run = json.loads(run_json.read_text())
    run["phases"][0]["segment"] = segment
    run_json.write_text(json.dumps(run))
    delivered = deliver(run_json)
    steps = by_step(delivered)
    told = timeline(run_json, estimate=True)
    for step in range(1, max(steps), 3):
        assert pieces(trace_step(told, phase_of(told, step, None), step)) == steps[step]
    for name in (f"{STRATA[1]}:4", f"{STRATA[2]}:0"):
        (document,), _ = find(told, name)
        found = told_of(document, trace_document(told, document))
        assert in_order(found) == in_order(scanned(delivered, document.shard, document.document))
        assert {d.window < window for d in found if d.phase == "pretrain"} == {True, False}


def test_a_plan_that_is_not_the_one_that_was_begun_is_refused(tmp_path: Path) -> None:
    run_json = run_of(tmp_path)
    deliver(run_json, until=9)
    journal = run_json.with_name("journal.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    changed = [line | {"plan_digest": "0" * 64} for line in lines]
    journal.write_text("".join(json.dumps(line) + "\n" for line in changed))
    with pytest.raises(UserError, match=r"window 0 of phase pretrain was begun with plan 0000"):
        trace_step(timeline(run_json), "pretrain", 1)
    changed = [line | {"first_step": line["first_step"] + line["window"]} for line in lines]
    journal.write_text("".join(json.dumps(line) + "\n" for line in changed))
    with pytest.raises(UserError, match=r"has window 1 of pretrain begun with step"):
        trace_step(timeline(run_json), "pretrain", lines[1]["first_step"])


def test_the_log_of_a_trained_run_names_the_same_packs(tmp_path: Path) -> None:
    run_json = Path(make_run(tmp_path, {"pretrain": GROWING, "extend": AFTER}, epochs=1))
    with alone(run_json) as session:
        train(session, session.run.phases)
    log = Lines(run_json.with_name("log.jsonl"), write=False).read()
    shutil.rmtree(run_json.parent / "checkpoints")  # nothing but the journal is asked
    told = timeline(run_json)
    steps = [line for line in log if line["kind"] == "step"]
    assert len(steps) > 10
    for line in steps:
        found = trace_step(told, str(line["phase"]), int(str(line["step"])))
        first = found.pieces[0]
        assert (first.window, first.pack) == (line["window"], line["pack"])
        assert found.num_packs == line["batch_packs"]
        assert found.done
