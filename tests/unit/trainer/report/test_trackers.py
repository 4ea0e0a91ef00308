"""Trackers get what the log gets, and can neither stop a training nor be missing in silence."""

import sqlite3
from pathlib import Path

import pytest

from schemas.errors import UserError
from trainer.journal import Lines
from trainer.report import trackers

STEP = {
    "kind": "step", "phase": "pretrain", "step": 3, "window": 0, "pack": 4, "tokens": 900,
    "loss": 2.5, "lr": 1e-3, "batch_packs": 2, "grad_norm": 1.5, "tokens_per_s": 10.0,
    "flops_per_s": 1e9, "mfu": 0.25, "packing": 0.99, "eta_s": 8.0,
}  # fmt: skip
HELDOUT = {
    "kind": "heldout", "phase": "extend", "step": 4, "clock": 0, "macro": 2.0,
    "languages": {"fao": {"bits_per_byte": 1.5}, "deu": {"bits_per_byte": None}}, "pooled": {},
}  # fmt: skip
EXPOSURE = {
    "kind": "exposure", "phase": "extend", "step": 4, "clock": 0,
    "languages": {"fao": {"tokens": 70, "epochs": 0.5}},
}  # fmt: skip


def write(folder: Path, *names: str) -> Lines:
    log = Lines(folder / "log.jsonl", write=True)
    with trackers.mirrored(log, names, folder):
        for line in (STEP, HELDOUT, EXPOSURE, {"kind": "phase", "phase": "extend", "step": 4}):
            log.append(line)
    return log


def test_numbers_of_a_line_are_named_after_it():
    assert trackers.figures(STEP) == {
        "step/tokens": 900.0, "step/loss": 2.5, "step/lr": 1e-3, "step/batch_packs": 2.0,
        "step/grad_norm": 1.5, "step/tokens_per_s": 10.0, "step/flops_per_s": 1e9,
        "step/mfu": 0.25, "step/packing": 0.99,
    }  # fmt: skip
    assert trackers.figures(HELDOUT) == {"heldout/macro": 2.0, "heldout/fao": 1.5}
    assert trackers.figures(EXPOSURE) == {"exposure/fao": 70.0}
    assert trackers.figures({"kind": "machine", "ranks": 2}) == {}


def test_tensorboard_mirrors_the_log(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path, "tensorboard")
    found = {}
    for phase in ("pretrain", "extend"):
        events = EventAccumulator(str(tmp_path / "tensorboard" / phase)).Reload()
        for tag in events.Tags()["scalars"]:
            (point,) = events.Scalars(tag)
            found[tag] = (phase, point.step, point.value)
    assert found["step/loss"] == ("pretrain", 3, 2.5)
    assert found["heldout/fao"] == ("extend", 4, 1.5)
    assert found["exposure/fao"] == ("extend", 4, 70.0)


def test_trackio_mirrors_the_log_into_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip("trackio", reason="the extra `track` is not installed")
    write(tmp_path, "trackio")
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as rows:
        logged = rows.execute("select run_name, step, metrics from metrics order by id").fetchall()
    assert [(run, step) for run, step, _ in logged] == [("pretrain", 3)] + [("extend", 4)] * 2


def test_a_tracker_that_fails_is_dropped_and_the_log_goes_on(tmp_path, monkeypatch, capsys):
    def broken(folder):
        return Broken()

    class Broken:
        def put(self, phase, step, figures):
            raise OSError("no space left")

        def close(self):
            raise AssertionError("it was dropped")

    monkeypatch.setitem(trackers._OPEN, "tensorboard", broken)
    log = write(tmp_path, "tensorboard")
    lines = log.read()
    assert [line["kind"] for line in lines] == ["step", "warning", "heldout", "exposure", "phase"]
    assert lines[1]["text"] == "tensorboard is dropped: no space left"
    assert capsys.readouterr().err == "mmbert: tensorboard is dropped: no space left\n"


def test_a_tracker_that_cannot_be_closed_does_not_end_a_training(tmp_path, monkeypatch):
    class Stuck:
        def put(self, phase, step, figures):
            pass

        def close(self):
            raise OSError("no connection")

    monkeypatch.setitem(trackers._OPEN, "trackio", lambda folder: Stuck())
    monkeypatch.setitem(trackers._OPEN, "tensorboard", lambda folder: Stuck())
    log = write(tmp_path, "trackio", "tensorboard")
    told = [line["text"] for line in log.read() if line["kind"] == "warning"]
    assert told == [f"{n} is dropped: no connection" for n in ("trackio", "tensorboard")]


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--track trackio: .*pip install 'mmbert\[track\]'"):
        trackers.require(["trackio"])


def test_nothing_is_imported_for_trackers_that_nobody_asked_for(tmp_path):
    log = write(tmp_path)
    assert log.mirror is None
