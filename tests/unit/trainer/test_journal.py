"""Log and journal read as if the run had never been stopped."""

import pytest

from trainer.failure import TrainingFailure
from trainer.journal import Journal, Lines


def steps(lines: Lines) -> list[tuple[str, int]]:
    return [(line["phase"], line["step"]) for line in lines.read()]


def test_rewinding_drops_what_the_checkpoint_does_not_know(tmp_path):
    log = Lines(tmp_path / "log.jsonl", write=True)
    log.append({"kind": "phase", "event": "end", "phase": "pretrain", "step": 2})
    for step in (3, 4, 5):
        log.append({"kind": "step", "phase": "extend", "step": step})
    log.append({"kind": "phase", "event": "end", "phase": "extend", "step": 4})
    log.rewind("extend", 4)
    assert steps(log) == [("pretrain", 2), ("extend", 3), ("extend", 4)]


def test_a_line_cut_by_a_kill_is_no_line(tmp_path):
    log = Lines(tmp_path / "log.jsonl", write=True)
    log.append({"kind": "step", "phase": "p", "step": 1})
    with log.path.open("a") as file:
        file.write('{"kind": "step", "phase": "p", "st')
    log.rewind("p", 9)
    log.append({"kind": "step", "phase": "p", "step": 2})
    assert steps(log) == [("p", 1), ("p", 2)]


def test_other_ranks_write_nothing(tmp_path):
    log = Lines(tmp_path / "log.jsonl", write=False)
    log.append({"kind": "step", "phase": "p", "step": 1})
    assert not log.path.exists()


def test_a_window_begun_twice_stands_once(tmp_path):
    journal = Journal(tmp_path, write=True)
    for _ in range(2):
        journal.open_window("p", 0, first_step=1, packs=3, tokens=100, plan_digest="aa")
    journal.open_window("p", 1, first_step=4, packs=3, tokens=90, plan_digest="bb")
    assert [line["window"] for line in journal.lines.read()] == [0, 1]
    journal.rewind("p", 3)
    assert [line["window"] for line in journal.lines.read()] == [0]


def test_a_window_that_is_planned_otherwise_stops_the_run(tmp_path):
    journal = Journal(tmp_path, write=True)
    journal.open_window("p", 0, first_step=1, packs=3, tokens=100, plan_digest="aa")
    with pytest.raises(TrainingFailure, match="window 0 of phase p"):
        journal.open_window("p", 0, first_step=1, packs=3, tokens=100, plan_digest="cc")
