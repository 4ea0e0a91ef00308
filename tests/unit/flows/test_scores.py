"""The held-out table says what the log says, however far training has come."""

from __future__ import annotations

import json
from pathlib import Path

from flows.scores import (
    HeldoutScore,
    PhaseEvent,
    Step,
    TrainingWarning,
    read_events,
    risen,
    score_table,
)
from schemas.digest import Json
from schemas.recipe import ModelSettings, Optimiser, Release
from schemas.run import Run, RunPhase
from tests.runs import phase_settings


def heldout(phase: str, step: int, eng: float | None, fao: float | None) -> dict[str, Json]:
    return {
        "kind": "heldout",
        "phase": phase,
        "step": step,
        "clock": 0,
        "macro": eng,
        "languages": {
            "fao": {"bits_per_byte": fao, "targets": 2000, "documents": 5, "nats": 1.0},
            "eng": {"bits_per_byte": eng, "targets": 9000, "documents": 50, "nats": 1.0},
            "isl": {"bits_per_byte": None, "targets": 9, "documents": 1, "nats": 1.0},
        },
        "pooled": {"script": {}, "phase": {"extend": {"bits_per_byte": 5.0, "targets": 2100}}},
    }


def write_log(folder: Path, *lines: dict[str, Json]) -> Path:
    log = folder / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "st')
    return log


def test_columns_are_the_first_model_and_the_latest_of_each_phase_and_the_release(
    tmp_path: Path,
) -> None:
    log = write_log(
        tmp_path,
        heldout("untrained", 0, 8.0, 9.0),
        heldout("untrained", 0, 8.0, 9.0),  # read again after a resume
        heldout("pretrain", 5, 6.0, 7.0),
        heldout("pretrain", 9, 4.0, 5.0),
        heldout("decay-all", 3, 3.0, 4.5),
        heldout("release", 3, 2.5, 4.0),
    )
    table = score_table(read_events(log))
    assert table is not None
    assert table.columns == ("untrained", "pretrain", "decay-all", "release")
    assert dict(table.rows) == {
        "mean of languages": (8.0, 4.0, 3.0, 2.5),
        "English": (8.0, 4.0, 3.0, 2.5),
        "Faroese": (9.0, 5.0, 4.5, 4.0),
        "small ones of extend": (5.0, 5.0, 5.0, 5.0),
    }
    assert [name for name, _ in table.rows][1] == "English"  # most held-out text first


def test_rows_can_be_cut_and_no_score_is_no_table(tmp_path: Path) -> None:
    log = write_log(tmp_path, heldout("pretrain", 0, 8.0, 9.0))
    table = score_table(read_events(log), most_rows=1)
    assert table is not None
    assert "Faroese" not in dict(table.rows)
    assert score_table([]) is None


def test_a_log_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    step: dict[str, Json] = {"kind": "step", "phase": "p", "step": 1, "tokens": 9, "loss": 2.0}
    log = write_log(
        tmp_path,
        {"kind": "phase", "event": "start", "phase": "p", "step": 0},
        step | {"lr": 1e-3, "tokens_per_s": 10.0, "eta_s": 3.0},
        {"kind": "of a later version", "phase": "p"},
        {"kind": "warning", "phase": "p", "step": 1, "text": "no card"},
    )
    events = read_events(log)
    assert [type(event) for event in events] == [PhaseEvent, Step, TrainingWarning]
    assert read_events(tmp_path / "nowhere.jsonl") == []
    assert not any(isinstance(event, HeldoutScore) for event in events)


def test_a_language_that_is_worse_than_in_the_model_before_has_risen(tmp_path: Path) -> None:
    log = write_log(
        tmp_path,
        heldout("untrained", 0, 8.0, 9.0),
        heldout("first", 5, 2.0, 3.0),
        heldout("left", 9, 2.5, 2.9),
        heldout("right", 9, 2.0004, 3.4),  # English: no rise that a table would show
        heldout("release", 9, 1.5, None),
    )
    after = {"first": None, "left": "first", "right": "first"}
    run = Run(
        recipe="tests",
        seed=0,
        tokenizer="",
        heldout="",
        model=ModelSettings(),
        optimiser=Optimiser(),
        phases=tuple(
            RunPhase(name=name, manifest="", settings=phase_settings(after=before))
            for name, before in after.items()
        ),
        release=Release(method="ties", base="first", phases=("left", "right")),
    )
    assert risen(read_events(log), run) == {"left": ("eng",), "right": ("fao",)}
