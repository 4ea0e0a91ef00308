"""What is tied to a process ends with it, whichever way either of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows import tether

CHILD_IN_A_SESSION_OF_ITS_OWN = """\
import pathlib, subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True
)
pathlib.Path(sys.argv[1]).write_text(f"{child.pid} ")
time.sleep(60)
"""
SAVES_WHEN_ASKED = """\
import os, pathlib, signal, sys, time
def save(*_):
    pathlib.Path(sys.argv[1] + '.saved').write_text('a checkpoint')
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} ")
time.sleep(60)
"""
TIES = """\
import os, sys, time
from flows.tether import tied
with open(os.devnull, 'wb') as nowhere:
    tied([sys.executable, '-c', sys.argv[1], sys.argv[2]], 20, nowhere, os.environ)
time.sleep(60)
"""


def tie(script: str, argument: Path, grace_s: float = 20) -> tether.Tied:
    with open(os.devnull, "wb") as nowhere:
        command = [sys.executable, "-c", script, str(argument)]
        return tether.tied(command, grace_s, nowhere, os.environ)


def read_pid(path: Path) -> psutil.Process:
    while not (path.exists() and path.read_text().endswith(" ")):
        time.sleep(0.02)
    return psutil.Process(int(path.read_text()))


def gone(process: psutil.Process) -> bool:
    """Ended within seconds, or a zombie that waits for its new parent."""
    for _ in range(500):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("killed", ["nothing", "the command", "the tether"])
def test_grandchildren_in_their_own_session_are_ended_too(tmp_path: Path, killed: str) -> None:
    stranger = subprocess.Popen(["sleep", "60"], env=os.environ | {tether.FAMILY: "other"})
    parent = tie(CHILD_IN_A_SESSION_OF_ITS_OWN, tmp_path / "pid")
    grandchild = read_pid(tmp_path / "pid")
    if killed == "the command":
        grandchild.parent().kill()
        assert parent.process.wait() == -signal.SIGKILL
    if killed == "the tether":
        parent.process.kill()
    parent.end()
    assert gone(grandchild)
    assert tether.living(parent.family) == {}
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_parent_that_is_killed_leaves_time_for_a_checkpoint_and_no_process(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", TIES, SAVES_WHEN_ASKED, str(path)])
    command = read_pid(path)
    tether_process = command.parent()
    parent.kill()
    parent.wait()
    assert gone(command)
    assert gone(tether_process)
    assert (tmp_path / "pid.saved").read_text() == "a checkpoint"


def test_what_a_killed_command_leaves_has_time_for_a_checkpoint(tmp_path: Path) -> None:
    starts = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {SAVES_WHEN_ASKED!r}, sys.argv[1]],"
        " start_new_session=True)\n"
        "time.sleep(60)\n"
    )
    tied = tie(starts, tmp_path / "pid")
    left = read_pid(tmp_path / "pid")
    left.parent().kill()
    tied.process.wait()
    assert gone(left)
    assert (tmp_path / "pid.saved").read_text() == "a checkpoint"


def test_who_does_not_end_is_ended(tmp_path: Path) -> None:
    deaf = SAVES_WHEN_ASKED.replace("signal.SIGTERM, save", "signal.SIGTERM, signal.SIG_IGN")
    tied = tie(deaf, tmp_path / "pid", grace_s=0.5)
    command = read_pid(tmp_path / "pid")
    tied.end()
    assert tied.process.returncode == -signal.SIGKILL
    assert gone(command)


@pytest.mark.parametrize("status", [0, 3, -signal.SIGABRT])
def test_a_tether_ends_as_its_command_did(tmp_path: Path, status: int) -> None:
    script = f"import os; os.kill(os.getpid(), {-status}) if {status} < 0 else os._exit({status})"
    assert tie(script, tmp_path).process.wait() == status


def test_a_family_inside_another_belongs_to_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tether.FAMILY, "outer")
    inner = tie(
        "import time, sys, pathlib, os;" + "pathlib.Path(sys.argv[1]).write_text("
        "f'{os.getpid()} '); time.sleep(60)",
        tmp_path / "pid",
    )
    pid = read_pid(tmp_path / "pid").pid
    assert {inner.process.pid, pid} <= set(tether.living("outer"))
    assert tether.living("out") == {}
    inner.end()
    assert not {inner.process.pid, pid} & set(tether.living("outer"))
