"""I7: a Ray cluster of two hosts with addresses of their own builds the bytes of one machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from datatrove.pipeline.base import PipelineStep

from tests import corpora
from tests.building import build_store, files_of
from tests.hosts import Host, two_hosts

LANGUAGES = {"fao_Latn": 40, "isl_Latn": 90, "swh_Latn": 15}
PUBLISHED = ("strata", "exclusions")
PORT = 6379
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_raylet_start_wait_time_s": "300",
}
# A node waits 15 s at most to be told ports that its agents chose; a busy machine takes longer.
AGENTS = [
    "--dashboard-agent-grpc-port=52365",
    "--dashboard-agent-listen-port=52366",
    "--runtime-env-agent-port=52367",
]
PATHS = {"PYTHONPATH": ":".join(path or os.getcwd() for path in sys.path)}
PATIENCE_S = 120.0

# A build through the cluster, after a look at which hosts take its tasks.
BUILD = """
import sys
from pathlib import Path
from pipelines.executor import execute
from schemas.profile import Workers
from schemas.progress import silent
from schemas.store import Store
from tests import corpora
from tests.building import build_store
from tests.promises.test_two_hosts_build_as_one import HostOf
root, store, address = sys.argv[1:]
workers = Workers(executor="ray", workers=2, address=address)
Path(store, "hosts").mkdir(parents=True)
execute([HostOf(Path(store, "hosts"))], 8, workers, Store.at(store), "where", silent)
build_store(corpora.recipe(Path(root)), Path(store), workers)
"""


class HostOf(PipelineStep):
    """Notes the name of the host that it runs on, once both have come to work."""

    name, type = "host", "test"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[object]:
        (self.folder / os.uname().nodename).touch()
        until = time.monotonic() + PATIENCE_S
        while len(list(self.folder.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        yield from ()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts of a Ray cluster of one CPU each; its head is the first."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    with two_hosts(tmp_path) as hosts:
        for number, host in enumerate(hosts):
            join = [f"--address={hosts[0].address}:{PORT}"]
            head = ["--head", f"--port={PORT}", "--include-dashboard=false"]
            ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1"]
            words = [
                *ray,
                *AGENTS,
                f"--node-ip-address={host.address}",
                *(join if number else head),
            ]
            running = host.start(words, tmp_path / f"ray-{host.name}.txt", RAY | PATHS)
            wait_for(tmp_path / f"ray-{host.name}.txt", "Ray runtime started", running)
        yield hosts


def wait_for(printed: Path, words: str, running: subprocess.Popen[bytes]) -> None:
    while words not in printed.read_text():
        assert running.poll() is None, printed.read_text()
        time.sleep(0.1)


@pytest.mark.slow
def test_ray_on_two_hosts_builds_the_bytes_of_one_machine(
    tmp_path: Path, cluster: tuple[Host, Host]
) -> None:
    root = corpora.write_corpus(tmp_path / "raw", LANGUAGES)
    build_store(corpora.recipe(root), tmp_path / "alone")
    address = f"{cluster[0].address}:{PORT}"
    words = [sys.executable, "-c", BUILD, str(root), str(tmp_path / "store"), address]
    printed = tmp_path / "build.txt"
    assert cluster[0].start(words, printed, RAY | PATHS).wait(900) == 0, printed.read_text()
    assert {path.name for path in (tmp_path / "store" / "hosts").iterdir()} == {"first", "second"}
    for name in PUBLISHED:
        expected = files_of(tmp_path / "alone" / name)
        assert files_of(tmp_path / "store" / name) == expected
    assert len(files_of(tmp_path / "alone" / "strata")) > 20
