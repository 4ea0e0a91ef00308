"""I7, I12: a build that is killed, starved of disk or raced leaves nothing wrong behind.

The real command runs in processes of its own. Whatever happened to it, the next run completes, and
every file that it published has the bytes of an undisturbed build.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.sample import write_sample
from tests.building import files_of

PUBLISHED = ("strata", "manifests", "exclusions", "heldout")
COMMAND = [sys.executable, "-c", "from flows.cli import console_script; console_script()"]
SMALL = ("tokenizer.train.vocab_size=512", "tokenizer.train.sample_megabytes=0.5")


class Builds:
    """`mmbert data` on one small sample."""

    def __init__(self, sample: Path) -> None:
        self.sample = sample

    def arguments(self, store: Path, workers: int) -> list[str]:
        profile = self.sample / f"workers-{workers}.toml"
        profile.write_text(f"[build]\nworkers = {workers}\n")
        paths = [f"sources.{s}.path={self.sample / s}" for s in ("fineweb2", "dclm", "dolmino")]
        settings = [word for setting in (*paths, *SMALL) for word in ("--set", setting)]
        told = ["--store", str(store), "--on", str(profile), "--no-server", *settings]
        return [*COMMAND, "data", "tiny", *told]

    def start(self, store: Path, workers: int = 2, file_bytes: int = 0) -> subprocess.Popen[str]:
        """In a process group of its own; `file_bytes` is the most that a file may hold."""

        def limit() -> None:
            if file_bytes:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        return subprocess.Popen(
            self.arguments(store, workers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=limit,
        )

    def run(self, store: Path, workers: int = 2) -> None:
        process = self.start(store, workers)
        _, told = process.communicate()
        assert process.returncode == 0, told


def published(store: Path) -> dict[str, str]:
    """Every file that counts, with its digest; temporary files do not exist or do not count."""
    found = {
        f"{folder}/{name}": digest
        for folder in PUBLISHED
        for name, digest in files_of(store / folder).items()
    }
    return {name: digest for name, digest in found.items() if not name.endswith(".tmp")}


def kill(process: subprocess.Popen[str]) -> None:
    """Every process of the build at once, as a machine that loses its power does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    sample = tmp_path_factory.mktemp("sample")
    write_sample(sample, languages=4, megabytes=0.8)
    return Builds(sample)


@pytest.fixture(scope="module")
def undisturbed(
    builds: Builds, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], Path]:
    store = tmp_path_factory.mktemp("undisturbed")
    builds.run(store, workers=1)
    found = published(store)
    assert len(found) > 20
    return found, store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no `mount` here: a full disk was not tried, a limit on files was")
    if made.returncode:
        pytest.skip(f"no right to mount a small disk ({made.stderr.strip()}): not tried")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def step_of(store: Path) -> str:
    """How far a build has come, by what lies in its store."""
    if any((store / "strata").rglob("stratum.json")):
        return "publish"
    if any((store / "strata").rglob("shard-*")):
        return "gather"
    return "map" if any((store / "spills").rglob("*")) else "start"


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "step", [pytest.param("map", marks=SLOW), "gather", pytest.param("publish", marks=SLOW)]
)
def test_a_build_that_is_killed_in_any_step_goes_on(
    step: str, tmp_path: Path, builds: Builds, undisturbed: tuple[dict[str, str], Path]
) -> None:
    store = tmp_path / "store"
    process = builds.start(store)
    while process.poll() is None and step_of(store) != step:
        pass
    kill(process)
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    builds.run(store, workers=1)
    assert published(store) == undisturbed[0]


@SLOW
def test_25_kills_at_random_moments(
    tmp_path: Path, builds: Builds, undisturbed: tuple[dict[str, str], Path]
) -> None:
    """One store, from nothing to the end; moments are counted in files that the store gains."""
    draw = random.Random(4)
    store = tmp_path / "store"
    ended = 0
    for _ in range(25):
        process = builds.start(store, workers=draw.choice([1, 2, 3]))
        more = num_files(store) + draw.randrange(40)
        while process.poll() is None and num_files(store) < more:
            pass
        if process.poll() is None:
            kill(process)
        else:  # it was faster: from nothing again
            process.communicate()
            assert published(store) == undisturbed[0]
            ended += 1
            shutil.rmtree(store)
    builds.run(store)
    assert published(store) == undisturbed[0]
    assert ended < 25


def num_files(store: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(store))


def test_a_full_disk_is_one_sentence(
    small_disk: Path, tmp_path: Path, builds: Builds, undisturbed: tuple[dict[str, str], Path]
) -> None:
    process = builds.start(small_disk / "store")
    _, told = process.communicate()
    require_sentence(process.returncode, told, "No space left on device")
    shutil.copytree(small_disk / "store", tmp_path / "store")  # more room, as a user would make it
    builds.run(tmp_path / "store")
    assert published(tmp_path / "store") == undisturbed[0]


@SLOW
@pytest.mark.parametrize("kilobytes", [30, 120])
def test_a_file_that_cannot_be_written_is_one_sentence(
    kilobytes: int, tmp_path: Path, builds: Builds, undisturbed: tuple[dict[str, str], Path]
) -> None:
    store = tmp_path / "store"
    process = builds.start(store, file_bytes=1024 * kilobytes)
    _, told = process.communicate()
    require_sentence(process.returncode, told, "File too large")
    builds.run(store)
    assert published(store) == undisturbed[0]


def require_sentence(code: int, told: str, reason: str) -> None:
    lines = [line for line in told.splitlines() if line.startswith("mmbert:")]
    assert code == 2, told
    assert len(lines) == 1, told
    assert reason in lines[0]
    assert "run the same command again" in lines[0]
    assert "Traceback" not in told


def test_two_builds_at_once_into_one_store(
    tmp_path: Path, builds: Builds, undisturbed: tuple[dict[str, str], Path]
) -> None:
    processes = [builds.start(tmp_path, workers) for workers in (1, 2)]
    for process in processes:
        _, told = process.communicate()
        assert process.returncode == 0, told
    assert published(tmp_path) == undisturbed[0]
    assert not list(tmp_path.rglob(".*.tmp"))
