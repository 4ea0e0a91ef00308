"""I3, I12: a training over two hosts ends when one is lost, with a sentence, and goes on when it is
back, to the weights of an undisturbed one.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import fsspec
import pytest

from flows import stages
from flows.job import Profile
from schemas.profile import SlurmJob, Training
from tests import ranks
from tests.hosts import Host, two_hosts
from tests.runs import make_run, phase_settings
from tests.servers import Faulty, moto_s3
from tests.slurm import stand_in
from trainer.journal import Lines

PRETRAIN = phase_settings()
EXTEND = phase_settings(after="pretrain", context=256, rope_theta=160_000.0, warmup_tokens=0)

LATE_S = 8.0
TIMEOUT_S = 20.0

# What `mmbert train` does once data is built, with the sentence that it would end with.
TRAIN = """
import sys
from flows.job import load_profile
from flows.stages import train
try:
    train(sys.argv[1], None, load_profile(sys.argv[2]), False)
except Exception as error:
    sys.exit(f"ended: {error}")
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with two_hosts(tmp_path) as hosts:
        yield hosts


@pytest.fixture
def run_json(tmp_path: Path) -> Path:
    phases = {"pretrain": PRETRAIN, "extend": EXTEND}
    return Path(make_run(tmp_path / "store", phases, epochs=10))


def start(host: Host, run_json: Path, profile: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", TRAIN, str(run_json), str(profile)]
    return host.start(words, run_json.with_name(f"{host.name}.txt"))


def wait_for_phase(run_json: Path, phase: str, *running: subprocess.Popen[bytes]) -> None:
    log = Lines(run_json.with_name("log.jsonl"), write=False)
    while not any(x["kind"] == "step" and x["phase"] == phase and x["step"] for x in log.read()):
        assert all(process.poll() is None for process in running), printed(run_json)
        time.sleep(0.02)


def printed(run_json: Path) -> str:
    files = [*run_json.parent.glob("*.txt"), *run_json.parent.glob("trainer*.log")]
    return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in files)


def weights(run_json: Path) -> dict[str, bytes]:
    models = run_json.parent / "models"
    return {f.parent.name: f.read_bytes() for f in models.glob("*/model.safetensors")}


def undisturbed(run_json: Path, folder: Path) -> dict[str, bytes]:
    """The weights that two ranks of one host come to."""
    store = run_json.parents[2]
    shutil.copytree(store, folder)
    copy = folder / run_json.relative_to(store)
    assert ranks.start(str(copy), world=2).wait(300) == [0, 0]
    return weights(copy)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1], ids=["the-first", "the-second"])
def test_a_host_that_loses_its_power_ends_the_other_and_both_go_on_later(
    hosts: tuple[Host, Host], run_json: Path, tmp_path: Path, lost: int
) -> None:
    profile = tmp_path / "two.toml"
    addresses = [host.address for host in hosts]
    profile.write_text(f"nproc = 1\nthreads = 1\n[train]\nhosts = {addresses}\n")
    expected = undisturbed(run_json, tmp_path / "alone")
    running = [start(host, run_json, profile) for host in hosts]
    wait_for_phase(run_json, "extend", *running)
    hosts[lost].lose_power()
    running[lost].wait()
    left = running[1 - lost]
    assert left.wait(90) == 1, printed(run_json)
    told = run_json.with_name(f"{hosts[1 - lost].name}.txt").read_text().splitlines()[-1]
    assert told.startswith("ended: another rank has died or stopped answering"), printed(run_json)

    hosts[lost].plug_in()
    running = [start(host, run_json, profile) for host in hosts]
    assert [process.wait(300) for process in running] == [0, 0], printed(run_json)
    assert weights(run_json) == expected


@pytest.mark.slow
def test_a_job_of_slurm_trains_on_two_nodes(
    hosts: tuple[Host, Host],
    run_json: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = undisturbed(run_json, tmp_path / "alone")
    commands = stand_in(tmp_path / "slurm", [host.name for host in hosts])
    for host in hosts:
        script = commands / f"on-{host.name}"
        script.write_text(f'#!/bin/bash\nexec {shlex.join(host.words([]))} "$@"\n')
        script.chmod(0o755)
    (commands / "on").write_text('#!/bin/bash\nnode=$1\nshift\nexec "$0-$node" "$@"\n')
    job = SlurmJob(partition="any", activate=f"PATH={Path(sys.executable).parent}:$PATH")
    train = Training(launcher="slurm", nodes=2, slurm=job)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    stages.train(str(run_json), None, Profile(nproc=1, threads=1, train=train), False)
    assert weights(run_json) == expected


class Far(Faulty):
    """A server of which each shard comes late."""

    def _handle(self, asked: BaseHTTPRequestHandler) -> None:
        if asked.command == "GET" and asked.path.endswith(".arrow"):
            self._closing.wait(LATE_S)
        super()._handle(asked)


# The trainer with less patience than a minute, which the far host's first window takes longer than.
IMPATIENT = f"""
from datetime import timedelta
import trainer.distributed
trainer.distributed.TIMEOUT = timedelta(seconds={TIMEOUT_S})
from tests.runs import undrawn
from trainer.__main__ import main
undrawn()
main()
"""


@pytest.mark.slow
def test_hosts_wait_for_the_one_that_is_slow_to_fetch_a_window(
    run_json: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = undisturbed(run_json, tmp_path / "alone")
    with moto_s3(monkeypatch) as near, Far(upstream=near.upstream) as far:
        fsspec.filesystem("s3").mkdir("far")
        fsspec.filesystem("s3").put(str(tmp_path / "store"), "s3://far/store", recursive=True)
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(ranks.free_port())}
        words = [sys.executable, "-c", IMPATIENT, str(run_json), "--threads", "1"]
        running = []
        for rank, server in enumerate((near, far)):
            own = {"RANK": str(rank), "WORLD_SIZE": "2", "AWS_ENDPOINT_URL": server.url}
            own["MMBERT_CACHE"] = str(tmp_path / f"cache-{rank}")
            with run_json.with_name(f"rank-{rank}.txt").open("wb") as output:
                running.append(
                    subprocess.Popen(
                        [*words, "--device", "cpu", "--store", "s3://far/store"],
                        env=os.environ | meet | own,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )
        assert [process.wait(400) for process in running] == [0, 0], printed(run_json)
        asked = [path for method, path, _ in far.asked if method == "GET"]
    assert LATE_S * len([path for path in asked if path.endswith(".arrow")]) > TIMEOUT_S
    assert weights(run_json) == expected
