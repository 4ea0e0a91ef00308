"""Training is a child that is watched and whose last words are kept."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from flows import training
from flows.job import Profile
from flows.scores import Event, PhaseEvent
from flows.training import LogTail, TrainingError, last_words
from schemas.errors import UserError

TORCHRUN = """\
some library talks
mmbert: store/x: made with tokenizer a, but tokenizer b is expected; rebuild it
E1121 10:00:00.000000 7 torch/distributed/elastic/multiprocessing/api.py:874] failed (exitcode: 2)
Traceback (most recent call last):
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
"""


def started(phase: str) -> str:
    return json.dumps({"kind": "phase", "event": "start", "phase": phase, "step": 0}) + "\n"


def replace_trainer(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    command = [sys.executable, "-c", script]
    monkeypatch.setattr(training, "command", lambda run_json, phase, profile: command)


def test_events_arrive_and_a_good_end_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"import pathlib; pathlib.Path({str(tmp_path / 'log.jsonl')!r}).write_text("
    replace_trainer(monkeypatch, f"{script}{started('pretrain')!r})")
    seen: list[Event] = []
    training.train(tmp_path / "run.json", None, Profile(), seen.append)
    assert seen == [PhaseEvent(phase="pretrain", step=0, event="start")]


@pytest.mark.parametrize(("status", "kind"), [(1, TrainingError), (2, UserError)])
def test_a_bad_end_raises_the_last_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception]
) -> None:
    told = "step 3: the loss is not finite"
    replace_trainer(monkeypatch, f"print('noise'); print({told!r}); raise SystemExit({status})")
    with pytest.raises(kind, match=f"^{told}$"):
        training.train(tmp_path / "run.json", None, Profile(), lambda event: None)


def test_torchruns_own_report_is_not_the_sentence() -> None:
    sentence, status = last_words(TORCHRUN)
    assert sentence.startswith("store/x: made with tokenizer a")
    assert status == 2


def test_a_tail_gives_each_line_once_and_follows_a_rewritten_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    tail = LogTail(log)
    assert tail.new_events() == []
    log.write_text(started("a") + started("b")[:10])
    assert [event.phase for event in tail.new_events()] == ["a"]
    log.write_text(started("a") + started("b"))
    assert [event.phase for event in tail.new_events()] == ["b"]
    rewritten = tmp_path / "other"
    rewritten.write_text(started("a") + started("c"))
    os.replace(rewritten, log)
    assert [event.phase for event in tail.new_events()] == ["c"]
    with log.open("a") as appended:
        appended.write(started("d"))
    assert [event.phase for event in tail.new_events()] == ["d"]
    assert tail.new_events() == []


def test_the_trackers_of_a_profile_reach_the_trainer() -> None:
    command = training.command(Path("run.json"), None, Profile(nproc=1, track=("tensorboard",)))
    assert command[-2:] == ["--track", "tensorboard"]


def test_what_a_device_takes_at_once_reaches_the_trainer() -> None:
    command = training.command(Path("run.json"), None, Profile(nproc=1, micro_batch_tokens=8192))
    assert command[-2:] == ["--micro-batch-tokens", "8192"]
    assert "--micro-batch-tokens" not in training.command(Path("run.json"), None, Profile(nproc=1))


class Told(BaseException):
    """As Prefect's, which it raises from its handler of SIGTERM."""


def test_a_second_signal_takes_no_checkpoint_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = "import pathlib, signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(save()))\n"
    saves += (
        f"def save():\n    time.sleep(2)\n    pathlib.Path({str(tmp_path / 'saved')!r}).touch()\n"
    )
    saves += "print('ready', flush=True)\ntime.sleep(600)\n"
    replace_trainer(monkeypatch, saves)
    printed = tmp_path / training.log_name(Profile())

    def signal_twice() -> None:
        while not (printed.exists() and "ready" in printed.read_text()):
            time.sleep(0.05)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)

    def told(number: int, frame: object) -> None:
        raise Told

    before = signal.signal(signal.SIGTERM, told)
    thread = threading.Thread(target=signal_twice)
    thread.start()
    try:
        with pytest.raises(Told):
            training.train(tmp_path / "run.json", None, Profile(), lambda event: None)
        assert signal.getsignal(signal.SIGTERM) is told
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    assert (tmp_path / "saved").exists()
