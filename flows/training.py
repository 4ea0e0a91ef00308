"""Training as a child process: start it, read its log as it grows, end it with all its children.

Where it runs is the profile's matter: flows/launch makes one command of that. It is tied to this
process (flows/tether.py): Ctrl-C, a cancelled flow and a kill -9 of this process reach it only as
the SIGTERM on which it writes a checkpoint and ends, with all its children. What it prints goes to
`trainer.log` in the run's folder.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.console import console
from flows.job import Profile
from flows.launch import command
from flows.launch.torchrun import GRACE_S, log_name, settings
from flows.orchestrate import note, send_notes
from flows.scores import Event, parse
from flows.tether import tied
from schemas.errors import UserError
from schemas.figures import amount
from schemas.point import points_in

POLL_S = 0.2


class TrainingError(RuntimeError):
    """Training ended with an error: its own sentence."""


def train(
    run_json: Path, phase: str | None, profile: Profile, on_event: Callable[[Event], None]
) -> None:
    """Train a run, or one phase of it, to its end; goes on from the last checkpoint.

    `on_event` gets every line of the run's log, those of earlier starts first. Raises UserError
    or TrainingError with the sentence that the trainer ended with.
    """
    _say_from_where(run_json, phase)
    words = command(run_json, phase, profile)
    printed = run_json.with_name(log_name(profile))
    start = printed.stat().st_size if printed.exists() else 0
    log = LogTail(run_json.with_name("log.jsonl"))
    with printed.open("ab") as output:
        training = tied(words, GRACE_S, output, settings(profile) | os.environ)
    child = training.process
    try:
        ended = False
        while not ended:
            try:
                child.wait(POLL_S)
                ended = True
            except subprocess.TimeoutExpired:
                pass
            for event in log.new_events():
                on_event(event)
    except KeyboardInterrupt:
        console.say("    training saves a checkpoint and ends; Ctrl-C again ends it at once")
        raise
    except Exception:
        raise
    except BaseException:  # Prefect's way to tell a flow that it is cancelled or that all ends
        with _told_once():
            note(
                "training is stopped: it saves a checkpoint in "
                f"{run_json.with_name('checkpoints')} and ends; Retry, or the same run again, goes "
                "on from there"
            )
            send_notes()  # Prefect kills a flow that takes more than 30 s; the training has time
            training.end()
        raise
    finally:
        training.end()
    if child.returncode:
        sentence, code = last_words(printed.read_bytes()[start:].decode(errors="replace"))
        kind = UserError if 2 in (child.returncode, code) else TrainingError
        raise kind(sentence or _killed(child.returncode, printed))


def _say_from_where(run_json: Path, phase: str | None) -> None:
    saved = points_in(run_json.with_name("checkpoints"))
    begun = [point for point in saved if not point.end and phase in (None, point.phase)]
    if begun:
        last = max(begun, key=lambda point: point.step)
        into = f"{amount(last.tokens)} tokens into {last.phase}"
        console.say(f"    goes on from its checkpoint {last.name}, {into}")


@contextmanager
def _told_once() -> Iterator[None]:
    """Ignore another SIGTERM: it would end what the first one has asked for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _killed(status: int, printed: Path) -> str:
    if status >= 0:
        return f"training ended with status {status}; see {printed}"
    name = signal.Signals(-status).name
    return f"training was killed ({name}); run the same command to go on from the last checkpoint"


class LogTail:
    """The lines that are appended to a file. A resumed run rewrites it up to its checkpoint: what
    was given before is not given again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = self._offset = 0
        self._given: list[int] = []  # hashes of lines, in order
        self._place = 0  # how many of the file's lines are read

    def new_events(self) -> list[Event]:
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._inode, self._offset, self._place = status.st_ino, 0, 0
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        events = (parse(line.decode()) for line in whole.splitlines() if self._is_new(line))
        return [event for event in events if event is not None]

    def _is_new(self, line: bytes) -> bool:
        known = self._given[self._place : self._place + 1] == [hash(line)]
        if not known:
            self._given[self._place :] = [hash(line)]
        self._place += 1
        return not known


def last_words(printed: str) -> tuple[str, int | None]:
    """The sentence that a failed trainer ended with, and its status under torchrun.

    Of several ranks that speak, one that says more than that another has died.
    """
    code = re.search(r"failed \(exitcode: (-?\d+)\)", printed)
    own = re.split(r"^[EW]\d{4} .*torch/distributed/", printed, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line.strip() for line in own.splitlines() if line.strip()]
    told = [line.removeprefix("mmbert: ") for line in lines if line.startswith("mmbert: ")]
    told.sort(key=lambda sentence: sentence.startswith("another rank"))
    sentence = (told or lines[-1:] or [""])[0]
    return sentence, int(code[1]) if code else None
