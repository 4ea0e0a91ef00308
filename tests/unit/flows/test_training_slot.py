"""A training that takes its turn begins when the trainer before it has left the run's folder."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from flows import training_slot


def test_a_training_waits_while_the_one_before_saves_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    held = (tmp_path / ".lock").open("w")  # as a trainer does
    fcntl.flock(held, fcntl.LOCK_EX)

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            held.close()

    monkeypatch.setattr(training_slot.time, "sleep", pause)
    training_slot.until_left(tmp_path / "run.json")
    assert len(waits) == 3
    training_slot.until_left(tmp_path / "run.json")
    assert len(waits) == 3


def test_a_trainer_that_does_not_end_is_not_waited_for_without_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_slot, "GRACE_S", 0.0)
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        training_slot.until_left(tmp_path / "run.json")
