"""Training as one job of Slurm.

    python -m flows.launch.slurm NAME SCRIPT        started by flows/training.py

In: a run, a profile with [train] launcher = "slurm". Out: `train.sbatch` beside run.json, and the
command that submits it, waits for its end and cancels it on SIGTERM. What the job prints goes to
`trainer.log`. The checkout, its environment and the store must lie on a disk that all nodes see.

Cancelling sends SIGTERM to the job's steps, so that a checkpoint is written; what is still there
after that time is killed.
"""

from __future__ import annotations

import getpass
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.job import Profile
from flows.launch import templates, torchrun
from flows.launch.asked import Asked, refuse
from flows.launch.name import name_of

MARGIN_S = 30  # of torchrun.GRACE_S, for Slurm itself
POLL_S = 0.5
REFUSED = "sbatch: error: "


def command(run_json: Path, phase: str | None, profile: Profile) -> list[str]:
    script = templates.write(run_json.with_name("train.sbatch"), fill(run_json, phase, profile))
    return [sys.executable, "-m", "flows.launch.slurm", name_of(run_json), script]


def fill(run_json: Path, phase: str | None, profile: Profile) -> str:
    """The job's script."""
    slurm = profile.train.slurm
    assert slurm is not None
    log = run_json.with_name(torchrun.log_name(profile))
    values: dict[str, object] = {
        "name": name_of(run_json),
        "train": profile.train,
        "slurm": slurm,
        "log": log,
        "grace_s": torchrun.GRACE_S,
        "activate": slurm.activate or f"source {shlex.quote(f'{sys.prefix}/bin/activate')}",
        "checkout": shlex.quote(str(templates.CHECKOUT)),
        "settings": torchrun.settings(profile),
        "torchrun": shlex.join(torchrun.torchrun(profile)),
        "join_s": torchrun.JOIN_S,
        "trainer": shlex.join(torchrun.trainer(run_json, phase, profile)),
    }
    return templates.fill("train.sbatch.j2", values)


def main(name: str, script: str) -> int:
    asked = Asked()
    try:
        job = subprocess.Popen(
            ["sbatch", "--quiet", "--wait", script],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        return refuse(
            'launcher = "slurm" needs sbatch, which is not on the PATH; run this where Slurm\'s '
            "commands are, or choose another profile"
        )
    while job.poll() is None and not asked.within(POLL_S):
        pass
    if job.poll() is None:
        _cancel(name, job)
    assert job.stderr is not None
    refused = [line for line in job.stderr.read().splitlines() if line.startswith(REFUSED)]
    if job.returncode and refused and not asked.to_end:
        told = refused[-1].removeprefix(REFUSED)
        return refuse(f"sbatch refuses the job: {told}; see [train.slurm] of the profile")
    return job.returncode


def _cancel(name: str, job: subprocess.Popen[str]) -> None:
    """By its name: sbatch --wait keeps the id in a buffer for as long as it writes into a pipe."""
    _scancel(name, "--state=PENDING")
    _scancel(name, "--signal=TERM")
    for limit_s in (torchrun.GRACE_S - MARGIN_S, MARGIN_S):
        try:
            job.wait(limit_s)
            return
        except subprocess.TimeoutExpired:
            _scancel(name)
    job.kill()
    job.wait()


def _scancel(name: str, *options: str) -> None:
    which: Sequence[str] = (f"--user={getpass.getuser()}", f"--name={name}")
    subprocess.run(["scancel", "--quiet", *which, *options], stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
