"""Run a command so that nothing of it outlives the process that wanted it, kill -9 included.

    python -m flows.tether PARENT GRACE_S SIGNAL COMMAND...     started by `tied`, never by hand

A tether is a small process between the two. When the command ends, when the tether gets a SIGTERM,
or when process PARENT is gone, the command gets SIGNAL, then whatever it left behind gets SIGTERM,
each once, and after GRACE_S seconds all of them get SIGKILL. So a trainer writes its checkpoint
even when the one who started it was killed. The tether ends as its command did, by the same status
or signal.

Families are told by a mark in the environment, FAMILY, which children inherit: torchrun's workers
lead sessions of their own and lose their parent when torchrun is killed, and a pid may be another's
by now. A family inside another has a longer mark: "a/b" belongs to "a", too.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import IO
from uuid import uuid4

import psutil

FAMILY = "MMBERT_FAMILY"
POLL_S = 0.25
MARGIN_S = 10.0  # between a tether's own SIGKILLs and those of the process that waits for it


class Tied:
    """A command under a tether. `process` is the tether, whose return code is the command's."""

    def __init__(self, process: subprocess.Popen[bytes], family: str, grace_s: float) -> None:
        self.process, self.family, self.grace_s = process, family, grace_s

    def end(self) -> None:
        """SIGTERM, `grace_s` seconds, SIGKILL for whatever is left; nothing survives."""
        try:
            if self.process.poll() is None:
                self.process.terminate()
                self.process.wait(self.grace_s + MARGIN_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            kill(living(self.family))
            self.process.wait()


def tied(
    command: Sequence[str],
    grace_s: float,
    output: IO[bytes],
    environment: Mapping[str, str],
    sign: signal.Signals = signal.SIGTERM,
) -> Tied:
    """Start a command that ends with this process, in a session of its own, so that Ctrl-C in a
    terminal reaches it only through this process. `sign` is what the command itself gets; its
    children get a SIGTERM in any case."""
    outer = os.environ.get(FAMILY)
    family = f"{outer}/{uuid4().hex}" if outer else uuid4().hex
    tether = [sys.executable, "-m", "flows.tether"]
    process = subprocess.Popen(
        [*tether, str(os.getpid()), str(grace_s), str(int(sign)), *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**environment, FAMILY: family},
        start_new_session=True,
    )
    return Tied(process, family, grace_s)


def living(family: str) -> dict[int, int]:
    """pid -> parent's pid of the processes of a family and of those inside it."""
    found = {}
    for process in psutil.process_iter(["ppid", "environ", "status"]):
        mark = (process.info["environ"] or {}).get(FAMILY, "")
        ended = process.info["status"] == psutil.STATUS_ZOMBIE
        if not ended and (mark == family or mark.startswith(f"{family}/")):
            found[process.pid] = process.info["ppid"]
    return found


def kill(pids: Sequence[int] | Mapping[int, int], sign: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, sign)


def _keep(parent: int, grace_s: float, sign: int, command: Sequence[str]) -> int:
    """The tether itself; returns the return code of the command as Popen gives it."""
    asked = []
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    for asking in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asking, ask)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def pause() -> None:
        if select.select([reader], [], [], POLL_S)[0]:
            os.read(reader, 64)

    child = subprocess.Popen(command)
    while child.poll() is None and not asked and os.getppid() == parent:
        pause()
    child.send_signal(sign)  # of one that has ended, nothing
    told = {child.pid, os.getpid()}
    deadline = time.monotonic() + grace_s
    while left := _left(child):
        if time.monotonic() > deadline:
            kill(left)
        elif child.poll() is not None:
            # What is left has lost its parent; those below it are its own to end.
            roots = {pid for pid, above in left.items() if above not in left} - told
            kill(sorted(roots), signal.SIGTERM)
            told |= roots
        pause()
    return child.wait()


def _left(child: subprocess.Popen[bytes]) -> dict[int, int]:
    left = living(os.environ[FAMILY])
    left.pop(os.getpid(), None)
    if child.poll() is None:  # it may have taken the mark out of its environment
        left[child.pid] = os.getpid()
    return left


def main(arguments: Sequence[str]) -> int:
    parent, grace_s, sign = int(arguments[0]), float(arguments[1]), int(arguments[2])
    status = _keep(parent, grace_s, sign, arguments[3:])
    if status < 0:
        if status != -signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
