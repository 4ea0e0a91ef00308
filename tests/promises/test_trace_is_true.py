"""I8: what a trace says of a step is what the loader delivered, and what it says of a document is
every delivery of it: at any number of ranks, over batch warm-up, before, in and after training.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import manifest as manifests
from schemas import run as runs
from schemas.errors import UserError
from schemas.manifest import Continuation, Packing
from schemas.store import Store
from tests.deliveries import Delivered, deliver, describe
from tests.runs import alone, make_run, phase_settings
from tests.stores import Settings, make_manifest
from trainer.journal import Lines
from trainer.loop import train
from trainer.order import Schedule
from trainer.sightings import Document, PhaseSightings, find, trace_document
from trainer.timeline import Timeline
from trainer.trace import TracedStep, phase_of, trace_step

STRATA = ("dclm/eng_Latn/all", "fineweb2/deu_Latn/all", "fineweb2/fao_Latn/all")
PACKING = Packing(pack_tokens=256, max_pieces=16, window_packs=5)
GROWING = phase_settings(batch_packs=5, min_batch_packs=1, batch_warmup_tokens=6_000)
AFTER = phase_settings(after="pretrain", batch_packs=3)


def documents(seed: int, num: int, longest: int = 300) -> list[int]:
    return np.random.default_rng(seed).integers(1, longest, num).tolist()


def run_of(root: Path, epochs: float = 1.7, **left_out: list[tuple[str, int, int]]) -> Path:
    """Two phases over the same strata, in shards of different sizes; one of one document."""
    lengths = {
        STRATA[0]: [documents(0, 40), documents(1, 25)],
        STRATA[1]: [documents(2, 30), [], documents(3, 8)],
        STRATA[2]: [[200]],
    }
    excluded = {int(window.removeprefix("from_")): gone for window, gone in left_out.items()}
    urls = {
        name: make_manifest(
            root, lengths, Settings(packing=PACKING, epochs=epochs, phase=name), excluded=excluded
        )
        for name in ("pretrain", "extend")
    }
    phases = {"pretrain": (urls["pretrain"], GROWING), "extend": (urls["extend"], AFTER)}
    return describe(Store.at(str(root)), phases)


def timeline(run_json: Path, estimate: bool = False) -> Timeline:
    url = str(run_json)
    return Timeline(runs.load(url), runs.store_of(url), run_json.parent, estimate)


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


def watch_plans(told: Timeline, phase: str, patched: pytest.MonkeyPatch) -> set[int]:
    """The windows of a phase that are planned from now on."""
    planned: set[int] = set()
    planner = told.data(phase).planner
    plan = planner.plan
    patched.setattr(planner, "plan", lambda window: (planned.add(window), plan(window))[1])
    return planned


def test_a_trace_of_a_document_plans_the_windows_that_hold_it_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_json = run_of(tmp_path)
    delivered = deliver(run_json, until=5)
    told = timeline(run_json, estimate=True)
    planned = watch_plans(told, "extend", monkeypatch)
    (document,), _ = find(told, f"{STRATA[1]}:7")
    trace_document(told, document)
    mine = scanned(delivered, document.shard, document.document)
    assert planned == {piece.window for piece in mine if piece.phase == "extend"}


def scanned(delivered: list[Delivered], shard: str, document: int) -> list[Delivered]:
    return [d for d in delivered if (d.shard, d.document) == (shard, document)]


def told_of(document: Document, phases: list[PhaseSightings]) -> list[Delivered]:
    """The sightings of a document whose steps are known, as deliveries to one rank."""
    return [
        Delivered(
            phase.phase, s.step, 0, s.window, s.pack, s.place, document.shard, document.document,
            s.start, s.length,
        )
        for phase in phases
        for s in phase.sightings
        if s.step is not None and s.pack is not None and s.place is not None
    ]  # fmt: skip


def places(delivered: list[Delivered]) -> list[tuple[int | str, ...]]:
    """Where pieces lie, whatever the step."""
    return sorted((d.phase, d.window, d.pack, d.place, d.start, d.length) for d in delivered)


def in_order(delivered: list[Delivered]) -> list[Delivered]:
    return sorted(delivered, key=lambda d: (d.phase, d.step, d.window, d.pack, d.place))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=st.lists(
        st.lists(st.lists(st.integers(1, 400), min_size=2, max_size=12), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
    epochs=st.sampled_from([0.4, 1.0, 2.3]),
    gone=st.tuples(st.integers(0, 2), st.integers(0, 5)),
    until=st.integers(0, 12),
    seed=st.integers(0, 2**32),
)
def test_a_document_is_told_where_a_scan_finds_it(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[list[list[int]]],
    epochs: float,
    gone: tuple[int, int],
    until: int,
    seed: int,
) -> None:
    root = tmp_path_factory.mktemp("random")
    shards = {STRATA[i]: stratum for i, stratum in enumerate(lengths)}
    rows = {STRATA[0]: 7} if epochs < 1 else {}
    excluded = {gone[1]: [(STRATA[0], 0, min(gone[0], len(lengths[0][0]) - 1))]}
    described = Settings(packing=PACKING, epochs=epochs, seed=seed, windows=7)
    url = make_manifest(root, shards, described, rows, excluded)
    run_json = describe(Store.at(str(root)), {"pretrain": (url, GROWING)})
    delivered = deliver(run_json, until=until)
    told = timeline(run_json, estimate=True)
    last = max(told.begun("pretrain"), default=-1)
    total = 0
    for stratum, parts in shards.items():
        for number in range(sum(map(len, parts))):
            (document,), _ = find(told, f"{stratum}:{number}")
            phases = trace_document(told, document)
            sightings = [s for phase in phases for s in phase.sightings]
            expected = scanned(delivered, document.shard, document.document)
            found = told_of(document, phases)
            total += len(found)
            assert places(found) == places(expected)
            begun = [in_order([d for d in side if d.window <= last]) for side in (found, expected)]
            assert begun[0] == begun[1]
            assert Counter(s.fate for s in sightings)["seen"] == sum(
                d.step <= until for d in expected
            )
            for s in sightings:
                assert (s.fate == "left out") == (s.step is None)
                assert s.exact == (s.step is None or s.window <= last)
    assert total == len(delivered)


def test_a_row_that_an_exclusion_has_left_out_by_then_is_told_as_left_out(tmp_path: Path) -> None:
    gone = [(STRATA[0], 0, 3), (STRATA[0], 0, 5)]
    run_json = run_of(tmp_path, epochs=3, from_0=[gone[1]], from_9=[gone[0]])
    delivered = deliver(run_json)
    told = timeline(run_json, estimate=True)
    (document,), _ = find(told, f"{STRATA[0]}:3")
    phases = trace_document(told, document)
    fates = Counter(s.fate for phase in phases for s in phase.sightings)
    assert fates["seen"] == len(scanned(delivered, document.shard, 3)) > 0
    assert fates["left out"] > 0
    (other,), _ = find(told, f"{STRATA[0]}:5")
    assert [phase.standing for phase in trace_document(told, other)] == ["excluded"] * 2


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
        trace_step(timeline(run_json), "pretrain", 9)


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
