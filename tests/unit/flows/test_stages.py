"""What the stages tell while they work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows import stages, training
from flows.console import Stage
from flows.job import Profile
from flows.scores import Event, Step, TrainingWarning
from flows.stages import kept_nothing
from schemas.ledger import Ledger
from schemas.stratum import Stratum, StratumName
from tests.runs import end, make_run, phase_settings


def test_a_phase_of_its_own_is_timed_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the phases that are done nor those that are not asked for are counted."""
    phases = {
        name: phase_settings(budget_tokens=20_000) for name in ("pretrain", "extend", "decay")
    }
    run_json = Path(make_run(tmp_path, phases))
    end(run_json, "pretrain")
    told: list[tuple[str, int, int]] = []

    def trains(
        run_json: Path, phase: str | None, profile: Profile, on_event: Callable[[Event], None]
    ) -> None:
        for name in ("pretrain", "extend"):  # the log is told from its start
            on_event(Step(phase=name, step=1, tokens=250, loss=1, lr=1, eta_s=30))
        end(run_json, "extend")

    def tells(self: Stage, line: str, done: int, of: int) -> None:
        told.append((line, done, of))

    monkeypatch.setattr(training, "train", trains)
    monkeypatch.setattr(Stage, "progress", tells)
    stages.train(str(run_json), "extend", Profile(), fresh=False)
    assert [(done, of) for _, done, of in told] == [(250, 20_000)]
    assert "30 s left" in told[0][0]
    assert "20 k tokens in 1 phase" in "".join(capsys.readouterr())


def test_a_warning_of_the_training_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_json = Path(make_run(tmp_path, {"pretrain": phase_settings()}))

    def trains(
        run_json: Path, phase: str | None, profile: Profile, on_event: Callable[[Event], None]
    ) -> None:
        for step in (1, 2):
            on_event(TrainingWarning(phase="pretrain", step=step, text="trackio is dropped"))
        end(run_json, "pretrain")

    monkeypatch.setattr(training, "train", trains)
    stages.train(str(run_json), None, Profile(), fresh=False)
    assert "".join(capsys.readouterr()).count("trackio is dropped") == 1


def test_a_source_of_which_nothing_was_kept_is_told() -> None:
    def stratum(source: str, read: int, kept: int) -> Stratum:
        dropped = {"no_text": read - kept} if read > kept else {}
        return Stratum(
            id="",
            name=StratumName(source=source, language="eng_Latn"),
            tokenizer="",
            vocab_size=0,
            ledger=Ledger(read=read, kept=kept, dropped=dropped),
            shards=(),
            made_from={},
        )

    lines = list(kept_nothing([stratum("notes", 303, 0), stratum("dclm", 10, 9)]))
    assert lines == ["  ! notes: none of its 303 documents was kept (no_text 303)"]
