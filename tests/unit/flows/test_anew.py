"""A training from the start loses nothing: neither what was there nor what it began itself."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import anew, stages, training
from flows.job import Profile
from flows.scores import Event
from schemas.errors import UserError
from tests.runs import end, make_run, phase_settings


def test_a_training_from_the_start_that_starts_again_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_json = Path(make_run(tmp_path, {"pretrain": phase_settings()}))
    (run_json.parent / "log.jsonl").write_text("earlier")
    attempts: list[str] = []

    def trains(
        run_json: Path, phase: str | None, profile: Profile, on_event: Callable[[Event], None]
    ) -> None:
        assert not (run_json.parent / "log.jsonl").exists() or attempts
        (run_json.parent / "log.jsonl").touch()
        attempts.append("started")
        if len(attempts) > 1:
            end(run_json, "pretrain")

    monkeypatch.setattr(training, "train", trains)
    monkeypatch.setattr(anew, "flow_run_id", lambda: "one")
    with pytest.raises(training.TrainingError, match="stopped by a signal"):
        stages.train(str(run_json), None, Profile(), fresh=True)
    stages.train(str(run_json), None, Profile(), fresh=True)
    assert attempts == ["started", "started"]
    (aside,) = run_json.parent.parent.glob("*.*")
    assert (aside / "log.jsonl").read_text() == "earlier"

    monkeypatch.setattr(anew, "flow_run_id", lambda: "another")
    monkeypatch.setattr(anew.time, "strftime", lambda _: "a-second-later")
    stages.train(str(run_json), None, Profile(), fresh=True)
    assert len(attempts) == 3


def test_a_run_that_trains_is_not_set_aside(tmp_path: Path) -> None:
    run_json = Path(make_run(tmp_path, {"pretrain": phase_settings()}))
    with (run_json.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"--fresh: a trainer is at work in .*; stop it"):
            stages.train(str(run_json), None, Profile(), fresh=True)
    assert run_json.exists()
