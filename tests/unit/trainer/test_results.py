"""What a run leaves: snapshots evenly over a phase's clock, scores with exposure, a report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from schemas.recipe import Release
from tests.runs import alone, make_run, phase_settings
from trainer.journal import Lines
from trainer.loop import train
from trainer.phase import Phase
from trainer.report import draw
from trainer.results import snapshots
from trainer.session import Session

SNAPSHOTS = phase_settings(batch_packs=1, snapshots=4)
EMA = Release(method="ema", phases=("decay-2",), decay=0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run.json of a run whose snapshots become one model."""
    phases = {"decay": phase_settings(snapshots=2), "decay-2": SNAPSHOTS}
    run_json = make_run(tmp_path_factory.mktemp("run"), phases, epochs=1, release=EMA)
    with alone(run_json) as session:
        train(session, session.run.phases)
    return Path(run_json)


def steps_of(run_json: Path, phase: str) -> list[int]:
    found = (path.name.rpartition("-") for path in (run_json.parent / "snapshots").iterdir())
    return sorted(int(step) for name, _, step in found if name == phase)


def marks(session: Session, phase: str, parts: int) -> list[int]:
    """The first step at or after each k / parts of a phase's clock, but the last."""
    (described,) = [p for p in session.run.phases if p.name == phase]
    data = Phase(session.store.resolve(described.manifest))
    budget = data.manifest.budget_tokens
    found: list[int] = []
    for step, batch in enumerate(data.batches(batch_packs=lambda clock: 1), 1):
        if data.clock(batch.after) * parts >= budget * (len(found) + 1):
            found.append(step)
    return found[:-1]


def test_snapshots_lie_evenly_over_the_clock(trained: Path) -> None:
    log = Lines(trained.with_name("log.jsonl"), write=False).read()
    with alone(trained) as session:
        wanted = marks(session, "decay-2", 4)
    assert steps_of(trained, "decay-2") == wanted
    assert len(wanted) == 3
    assert len(steps_of(trained, "decay")) == 1
    last = max(line["step"] for line in log if line["phase"] == "decay-2")
    assert wanted[-1] < last


def test_what_is_no_snapshot_is_left_alone(trained: Path) -> None:
    folder = trained.parent / "snapshots"
    (folder / "decay-2-notes").mkdir()
    (folder / "notes.txt").touch()
    (folder / "decay-2-9999").touch()
    with alone(trained) as session:
        found = [path.name for path in snapshots(session, "decay-2")]
    for stray in ("notes.txt", "decay-2-9999"):
        (folder / stray).unlink()
    (folder / "decay-2-notes").rmdir()
    assert found == [f"decay-2-{step}" for step in steps_of(trained, "decay-2")]


def test_the_moving_average_counts_each_snapshot_half_of_the_next(trained: Path) -> None:
    folders = [trained.parent / f"snapshots/decay-2-{s}" for s in steps_of(trained, "decay-2")]
    folders.append(trained.parent / "models" / "decay-2")
    models = [load_file(folder / "model.safetensors") for folder in folders]
    released = load_file(trained.parent / "models" / "release" / "model.safetensors")
    shares = [1 / 15, 2 / 15, 4 / 15, 8 / 15]
    for name, tensor in released.items():
        mean = sum(w * model[name].double() for w, model in zip(shares, models, strict=True))
        torch.testing.assert_close(tensor, mean.float(), rtol=1e-6, atol=1e-8)


def test_snapshots_of_a_future_that_was_given_up_are_removed(trained: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(trained.parents[2], store)
    run = store / trained.parent.relative_to(trained.parents[2])
    before = {f: f.read_bytes() for f in run.glob("snapshots/*/*")}
    # As a kill leaves it before the first checkpoint of its second phase, after all its snapshots.
    for folder in ("decay-2", "release"):
        shutil.rmtree(run / "models" / folder)
    for folder in run.glob("checkpoints/decay-2-*"):
        shutil.rmtree(folder)
    (run / "snapshots" / "decay-2-999").mkdir()
    with alone(run / "run.json") as session:
        train(session, session.run.phases)
    assert {f: f.read_bytes() for f in run.glob("snapshots/*/*")} == before


def test_a_phase_ends_with_a_report_and_a_score_with_exposure(tmp_path: Path) -> None:
    run_json = make_run(tmp_path, {"pretrain": phase_settings()}, epochs=1)
    with alone(run_json, draws=True) as session:
        train(session, session.run.phases)
        lines = session.log.read()
    assert (Path(run_json).parent / "report" / "index.html").stat().st_size > 0
    kinds = [line["kind"] for line in lines]
    scored = [place for place, kind in enumerate(kinds) if kind == "heldout"][1:]  # untrained
    assert scored
    assert {kinds[place + 1] for place in scored} == {"exposure"}


def test_a_report_that_fails_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ValueError("no such\n colour")

    monkeypatch.setattr(draw, "write_report", broken)
    run_json = make_run(tmp_path, {"pretrain": phase_settings()}, epochs=1)
    with alone(run_json, draws=True) as session:
        assert "finished pretrain" in train(session, session.run.phases)
        last = session.log.read()[-1]
    assert (last["kind"], last["phase"]) == ("warning", "pretrain")
    assert "no such colour" in last["text"]
