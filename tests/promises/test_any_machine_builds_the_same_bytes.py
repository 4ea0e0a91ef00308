"""I7: this machine, a Ray cluster, Slurm's job files and Beam's job API build the same bytes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from datatrove.pipeline.base import PipelineStep

from pipelines.executor import WorkerDied, execute
from pipelines.manifests import make_manifest
from pipelines.on_slurm import array_job
from schemas.errors import UserError
from schemas.profile import IN_PROCESS, Beam, Slurm, Workers
from schemas.progress import silent
from schemas.store import Store
from tests import corpora
from tests.building import build_store, files_of

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

LANGUAGES = {"fao_Latn": 40, "isl_Latn": 90, "swh_Latn": 15}
PUBLISHED = ("strata", "manifests", "exclusions")
SLURM = Slurm(partition="cpu", options={"account": "mine"})

# Slurm's three commands, as far as a build needs them: an array job runs here, one task at a time.
COMMANDS = {
    "sbatch": """#!/bin/bash
for script; do :; done
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
grep -qx '#SBATCH --wait' "$script" || exit 3
status=0
for task in $(seq 0 "$last"); do
  SLURM_NODELIST=here SLURM_ARRAY_TASK_ID=$task bash "$script" >"$(dirname "$0")/$task.log" 2>&1 \\
    || status=1
done
echo "Submitted batch job 1"
exit $status
""",
    "srun": """#!/bin/bash
while [ "${1#-}" != "$1" ]; do [ "$1" = -n ] && shift; shift; done
"$@"
""",
    "scontrol": "#!/bin/bash\necho localhost\n",
}


def build(root: Path, folder: Path, workers: Workers | int = 1, beam: Beam = IN_PROCESS) -> Built:
    """Strata and a manifest in a store; every file of what is published, with its digest."""
    recipe = corpora.recipe(root)
    built = build_store(recipe, folder, workers, beam)
    make_manifest(recipe, "only", built.store, built.seal, built.strata)
    assert not [left for left in (folder / "spills").iterdir() if left.name[:5] in LEFT]
    return {name: files_of(folder / name) for name in PUBLISHED}


LEFT = ("slurm", "decid")
Built = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built]:
    folder = tmp_path_factory.mktemp("undisturbed")
    root = corpora.write_corpus(folder / "raw", LANGUAGES)
    built = build(root, folder / "store")
    assert len(built["strata"]) > 20
    assert built["manifests"]
    return root, built


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    monkeypatch.setattr("pipelines.on_slurm.POLL_S", 0.05)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A Ray cluster of two nodes on this machine, each a process tree of its own, of one CPU."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    import ray
    from ray.cluster_utils import Cluster

    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_agent_register_timeout_ms": "120000",
        "RAY_raylet_start_wait_time_s": "120",
    }
    head = {"num_cpus": 1, "include_dashboard": False, **agent_ports()}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, **agent_ports())
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def agent_ports() -> dict[str, int]:
    """Free ports for a node's agents: it waits 15 s at most to be told those that they chose, and
    on a busy machine they import for longer.
    """
    names = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in names]
        for one in found:
            one.bind(("", 0))
        return {name: one.getsockname()[1] for name, one in zip(names, found, strict=True)}


class Dies(PipelineStep):
    """Kills its own process, as a kernel short of memory does, unless `unless` exists."""

    name = "dies"
    type = "test"

    def __init__(self, unless: Path | None = None) -> None:
        super().__init__()
        self.unless = unless

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[object]:
        if self.unless is None or not self.unless.exists():
            if self.unless:
                self.unless.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield from ()


class Refuses(PipelineStep):
    """Meets bad input in the second task."""

    name = "refuses"
    type = "test"

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[object]:
        if rank == 1:
            raise UserError("the file is bad; take another one")
        yield from ()


class NodeOf(PipelineStep):
    """Notes on which of Ray's nodes it has run, and holds its place until the other one has, too:
    a task that ended at once would leave it for all of them."""

    name = "node"
    type = "test"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[object]:
        import ray

        (self.folder / ray.get_runtime_context().get_node_id()).touch()
        deadline = time.monotonic() + 120
        while len(list(self.folder.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        yield from ()


@pytest.mark.slow
def test_ray(tmp_path: Path, undisturbed: tuple[Path, Built], cluster: Cluster) -> None:
    root, expected = undisturbed
    workers = Workers(executor="ray", workers=4, address=cluster.address)
    assert build(root, tmp_path / "store", workers) == expected
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    execute([NodeOf(nodes)], 4, workers, Store.at(str(tmp_path)), "where", silent)
    assert len(list(nodes.iterdir())) == 2


@pytest.mark.slow
def test_ray_starts_a_dead_task_again_and_tells_of_one_that_always_dies(
    tmp_path: Path, cluster: Cluster
) -> None:
    workers = Workers(executor="ray", workers=2, address=cluster.address)
    store = Store.at(str(tmp_path))
    execute([Dies(unless=tmp_path / "once")], 4, workers, store, "dying once", silent)
    assert (tmp_path / "once").exists()
    with pytest.raises(WorkerDied, match="died 4 times"):
        execute([Dies()], 2, workers, store, "dying", silent)


@pytest.mark.slow
def test_a_task_on_ray_tells_what_is_wrong_with_its_input(tmp_path: Path, cluster: Cluster) -> None:
    workers = Workers(executor="ray", workers=2, address=cluster.address)
    with pytest.raises(UserError, match=r"^the file is bad; take another one$"):
        execute([Refuses()], 2, workers, Store.at(str(tmp_path)), "refusing", silent)


def test_slurm(
    tmp_path: Path,
    undisturbed: tuple[Path, Built],
    slurm: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, expected = undisturbed
    monkeypatch.setattr("pipelines.build.TASKS_EACH", 2)  # a task is a process of some seconds here
    workers = Workers(executor="slurm", workers=1, slurm=SLURM)
    assert build(root, tmp_path / "store", workers) == expected


def test_a_task_on_slurm_tells_what_is_wrong_with_its_input(tmp_path: Path, slurm: Path) -> None:
    workers = Workers(executor="slurm", workers=2, slurm=SLURM)
    with pytest.raises(UserError, match=r"^the file is bad; take another one$"):
        execute([Refuses()], 2, workers, Store.at(str(tmp_path)), "refusing", silent)


@pytest.mark.slow
def test_a_task_that_slurm_lost_is_missed_and_its_logs_stay(tmp_path: Path, slurm: Path) -> None:
    workers = Workers(executor="slurm", workers=2, slurm=SLURM)
    once = tmp_path / "once"
    with pytest.raises(WorkerDied, match="1 of 2 tasks have not ended on Slurm"):
        execute([Dies(once)], 2, workers, Store.at(str(tmp_path)), "dying", silent)
    assert len(list((tmp_path / "spills").glob("slurm-*/logs/*"))) == 2


def test_slurm_s_job_file(tmp_path: Path, slurm: Path) -> None:
    folder = tmp_path / "job"
    (slurm / "sbatch").write_text("#!/bin/bash\necho Submitted batch job 1\n")
    array_job([Dies(unless=tmp_path)], 40, 8, SLURM, str(folder)).run()
    script = folder / "launch_script.slurm"
    subprocess.run(["bash", "-n", str(script)], check=True)
    told = {line for line in script.read_text().splitlines() if line.startswith("#SBATCH")}
    assert told >= {
        "#SBATCH --wait",
        "#SBATCH --partition=cpu",
        "#SBATCH --array=0-39%8",
        "#SBATCH --cpus-per-task=1",
        "#SBATCH --mem-per-cpu=2G",
        "#SBATCH --time=12:00:00",
        "#SBATCH --account=mine",
    }
    assert all("=" in line or line in ("#SBATCH --wait", "#SBATCH --requeue") for line in told)


def test_without_slurm_s_commands_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.on_slurm.POLL_S", 0.05)
    monkeypatch.setenv("PATH", str(tmp_path))
    workers = Workers(executor="slurm", workers=2, slurm=SLURM)
    with pytest.raises(UserError, match="needs sbatch"):
        execute([Refuses()], 2, workers, Store.at(str(tmp_path)), "refusing", silent)


def test_without_a_ray_cluster_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")

    def no_cluster(*address: str, **settings: object) -> None:
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", no_cluster)
    workers = Workers(executor="ray", workers=2)
    with pytest.raises(UserError, match="ray start --head"):
        execute([Refuses()], 2, workers, Store.at(str(tmp_path)), "refusing", silent)


def test_beam_through_the_job_api_with_workers_in_other_processes(
    tmp_path: Path, undisturbed: tuple[Path, Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    from apache_beam.runners.portability.local_job_service import LocalJobServicer

    root, expected = undisturbed
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    service = LocalJobServicer(str(tmp_path / "staging"))
    port = service.start_grpc_server(0)
    worker = f"{sys.executable} -m apache_beam.runners.worker.sdk_worker_main"
    portable = Beam(
        runner="PortableRunner",
        options=(
            f"--job_endpoint=localhost:{port}",
            "--environment_type=beam:env:harness_subprocess_python:v1",
            f"--environment_config={worker}",
        ),
    )
    try:
        assert build(root, tmp_path / "store", 1, portable) == expected
    finally:
        service.stop()
