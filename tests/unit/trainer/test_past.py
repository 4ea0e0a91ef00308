"""What a run has done is read from its log and journal, wherever it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer import past as past_of_runs
from trainer.journal import Journal, JournalLine
from trainer.past import read_past
from trainer.steps import State


def write(folder: Path, *lines: dict[str, object]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text)


def event(phase: str, step: int, what: str) -> dict[str, object]:
    return {"kind": "phase", "event": what, "phase": phase, "step": step}


def machine(phase: str, step: int, ranks: int) -> dict[str, object]:
    return {"kind": "machine", "phase": phase, "step": step, "ranks": ranks}


def steps(phase: str, first: int, last: int) -> list[dict[str, object]]:
    numbers = range(first, last + 1)
    line = {"kind": "step", "phase": phase, "pack": 3}
    return [line | {"step": step, "window": step // 10} for step in numbers]


def test_phases_begin_after_one_another_and_on_as_many_ranks_as_there_are(tmp_path: Path) -> None:
    write(
        tmp_path,
        event("pretrain", 0, "start"),
        machine("pretrain", 0, 2),
        *steps("pretrain", 1, 4),
        {"kind": "heldout", "phase": "pretrain", "step": 4},
        machine("pretrain", 4, 8),
        *steps("pretrain", 5, 6),
        event("pretrain", 6, "end"),
        event("extend", 6, "start"),
        machine("extend", 6, 1),
        *steps("extend", 7, 9),
    )
    journal = Journal(tmp_path, write=True)
    journal.open_window("pretrain", 0, 1, 20, 1_000, "ab")
    journal.open_window("extend", 0, 7, 20, 1_000, "cd")
    past = read_past(tmp_path)
    assert [(n, p.before, p.last, p.ended) for n, p in past.items()] == [
        ("pretrain", 0, 6, True),
        ("extend", 6, 9, False),
    ]
    assert [past["pretrain"].ranks_at(step) for step in (1, 4, 5, 6)] == [2, 2, 8, 8]
    assert past["extend"].windows == {
        0: JournalLine(
            phase="extend", window=0, first_step=7, packs=20, tokens=1_000, plan_digest="cd"
        )
    }


def test_some_steps_are_marked_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_of_runs, "MARK_EVERY", 20)
    write(tmp_path, event("pretrain", 0, "start"), *steps("pretrain", 1, 47))
    past = read_past(tmp_path)["pretrain"]
    assert past.marks == [(20, State(2, 3)), (40, State(4, 3)), (47, State(4, 3))]
    past.take_back(41)
    assert (past.last, past.marks) == (41, [(20, State(2, 3)), (40, State(4, 3))])


def test_a_line_cut_by_a_kill_was_never_written(tmp_path: Path) -> None:
    write(tmp_path, event("pretrain", 0, "start"), *steps("pretrain", 1, 3))
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"kind": "step", "phase": "pretrain", "st')
    assert read_past(tmp_path)["pretrain"].last == 3


def test_a_run_that_has_not_begun_has_no_past(tmp_path: Path) -> None:
    assert read_past(tmp_path) == {}
