"""A phase over a remote store delivers what a local one does, reads each shard once, and no more.

moto's S3 counts what is asked of it; the cache is a folder of this machine, within its bound.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest

from schemas import erased, remote
from schemas.digest import sha256
from schemas.erased import Erased, ErasedShard
from schemas.errors import UserError
from schemas.manifest import Packing, load_shards
from schemas.shard import digest_of, open_shard
from tests import ranks
from tests.runs import make_run, phase_settings
from tests.servers import Fault, Faulty, moto_s3
from tests.stores import Settings, make_manifest
from trainer import shard_cache
from trainer.journal import Lines
from trainer.phase import Phase

EPOCHS = 3
LENGTHS = {
    "fineweb2/deu_Latn/all": [[50 + i, 60, 70, 33] * 6 for i in range(9)],
    "fineweb2/isl_Latn/all": [[40 + i, 90, 20] * 6 for i in range(4)],
    "fineweb2/fao_Latn/all": [[30] * 5],
    "fineweb2/tir_Ethi/all": [[9, 9]],  # in one window of three
}
NUM_SHARDS = 15
PACKING = Packing(pack_tokens=512, max_pieces=64, window_packs=4)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The manifest of a phase that delivers every row of its store EPOCHS times."""
    settings = Settings(epochs=EPOCHS, packing=PACKING)
    return make_manifest(tmp_path_factory.mktemp("local"), LENGTHS, settings)


@pytest.fixture(scope="module")
def server() -> Iterator[Faulty]:
    with pytest.MonkeyPatch.context() as patch, moto_s3(patch) as proxy:
        patch.setattr(remote, "FIRST_WAIT_S", 0.001)
        patch.setattr(remote, "LONGEST_WAIT_S", 0.002)
        yield proxy


@pytest.fixture
def s3(local: str, server: Faulty, request: pytest.FixtureRequest) -> str:
    """A copy of the store in a bucket of its own; the URL of its manifest."""
    bucket = request.node.name.replace("_", "-")[:60].rstrip("-")
    store = local.partition("/manifests/")[0]
    fsspec.filesystem("s3").put(store, f"s3://{bucket}/store", recursive=True)
    server.asked.clear()
    return f"s3://{bucket}/store{local.removeprefix(store)}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(shard_cache.FOLDER, str(folder))
    return folder


def packs(url: str) -> list[bytes]:
    return [pack.ids.tobytes() for pack in Phase(url).packs()]


def reads(server: Faulty) -> Counter[str]:
    """How often each shard was asked for."""
    return Counter(path for how, path, _ in server.asked if how == "GET" and "/shard-" in path)


def kept(cache: Path) -> int:
    """Bytes; what goes in the meantime is left out."""
    total = 0
    for path in cache.glob("*.arrow"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def shard_of(s3: str, place: int = 0) -> str:
    store, _, _ = s3.partition("/manifests/")
    return f"{store}/{load_shards(s3).column('url')[place]}"


def test_a_phase_with_room_reads_each_shard_once(
    local: str, s3: str, server: Faulty, cache: Path
) -> None:
    assert packs(s3) == packs(local)
    assert len(reads(server)) == NUM_SHARDS
    assert set(reads(server).values()) == {1}
    server.asked.clear()
    assert packs(s3) == packs(local)
    assert not reads(server)
    assert sorted(path.name[0] == "." for path in cache.iterdir()) == [False] * NUM_SHARDS + [True]


def needed_at_once(local: str) -> int:
    """Bytes of the window at hand, the one before, what comes next and what is begun, at most."""
    store, _, _ = local.partition("/manifests/")
    urls = load_shards(local).column("url").to_pylist()
    sizes = [Path(store, url).stat().st_size for url in urls]
    phase = Phase(local)
    reads = phase.planner.reads
    windows = range(1, phase.windows)
    needed = [{*reads(w - 1), *reads(w), *reads(w + 1, further=1)} for w in windows]
    most = max(sum(sizes[shard] for shard in shards) for shards in needed)
    assert most < 0.6 * sum(sizes)
    return most


def test_a_phase_without_room_reads_each_shard_once_an_epoch(
    local: str, s3: str, server: Faulty, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = needed_at_once(local)
    monkeypatch.setenv(shard_cache.BOUND, str(bound / 1e9))
    expected, phase, most = packs(local), Phase(s3), 0
    found = []
    for pack in phase.packs():
        most = max(most, kept(cache))
        found.append(pack.ids.tobytes())
    assert found == expected
    assert NUM_SHARDS < sum(reads(server).values()) <= EPOCHS * NUM_SHARDS
    assert max(reads(server).values()) <= EPOCHS
    assert most <= bound


def test_a_cache_too_small_for_a_window_is_refused(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(shard_cache.BOUND, "0.00001")
    with pytest.raises(UserError, match="MMBERT_CACHE_GB=1e-05 is too small: one window reads"):
        packs(s3)
    monkeypatch.setenv(shard_cache.BOUND, "much")
    with pytest.raises(UserError, match="MMBERT_CACHE_GB=much is no size"):
        packs(s3)


def test_the_next_window_is_fetched_before_it_is_planned(s3: str, cache: Path) -> None:
    phase = Phase(s3)
    digests = load_shards(s3).column("digest").to_pylist()
    for window in range(phase.windows - 1):
        phase.plan(window)
        phase._shards._cache._ahead.finish()
        here = {path.stem for path in cache.glob("*.arrow")}
        needed = {digests[shard] for shard in phase.plan(window + 1).shard.tolist()}
        assert needed <= here
    assert window > 10
    assert needed


def test_faults_on_the_way_are_tried_again(local: str, s3: str, server: Faulty) -> None:
    phase = Phase(s3)
    server.faults = [
        Fault("cut", 100),
        Fault("unavailable"),
        None,
        Fault("page"),
        Fault("short", 9),
    ]
    assert [pack.ids.tobytes() for pack in phase.packs()] == packs(local)
    assert server.failed >= 4


def test_a_damaged_shard_is_refused_and_nothing_of_it_stays(s3: str, cache: Path) -> None:
    fs, path = fsspec.core.url_to_fs(shard_of(s3))
    data = bytearray(fs.cat_file(path))
    data[len(data) // 2] ^= 1
    fs.pipe_file(path, bytes(data))
    with pytest.raises(UserError, match=r"shard-00000-of-00009-.* is damaged"):
        packs(s3)
    digests = {sha256(file.read_bytes())[:16] for file in cache.glob("*.arrow")}
    assert digests == {file.stem for file in cache.glob("*.arrow")}
    assert not [*cache.glob(".*.part")]


def test_a_copy_that_was_damaged_since_is_named_and_fetched_again(
    local: str, s3: str, cache: Path
) -> None:
    packs(s3)
    copy = cache / f"{digest_of(shard_of(s3))}.arrow"
    data = bytearray(copy.read_bytes())
    data[data.index(open_shard(str(copy)).tokens.tobytes())] ^= 1
    copy.write_bytes(bytes(data))
    with pytest.raises(UserError, match=f"{copy.name}, this machine's copy of .* is damaged"):
        packs(s3)
    assert packs(s3) == packs(local)


def test_a_missing_shard_is_named(s3: str) -> None:
    fs, path = fsspec.core.url_to_fs(shard_of(s3))
    fs.rm_file(path)
    with pytest.raises(UserError, match=r"shard-00000-of-00009-.* is not there"):
        packs(s3)


def test_an_erased_shard_is_fetched_and_its_old_copy_goes(s3: str, cache: Path) -> None:
    packs(s3)
    url = shard_of(s3)
    folder, name = url.rsplit("/", 1)
    old = cache / f"{digest_of(name)}.arrow"
    assert old.exists()
    data = old.read_bytes()
    place = data.index(Phase(s3)._shards.tokens(0).tokens[:50].tobytes())
    changed = data[:place] + bytes(200) + data[place + 200 :]
    fs, path = fsspec.core.url_to_fs(url)
    entry = ErasedShard(before=digest_of(name), after=sha256(changed), documents=(0,))
    erased.save(folder, Erased(shards={name: entry}))
    fs.pipe_file(path, changed)
    phase = Phase(s3)
    assert not old.exists()
    assert not phase._shards.tokens(0).tokens[:50].any()
    assert (cache / f"{entry.after[:16]}.arrow").read_bytes() == changed


READ = """
import hashlib, os, signal, sys
from trainer.phase import Phase

if sys.argv[2:]:
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
print(*(hashlib.sha256(pack.ids.tobytes()).hexdigest() for pack in Phase(sys.argv[1]).packs()))
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    """A process that reads a phase and prints digests; with a second argument it dies instead."""
    command = [sys.executable, "-c", READ, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_of_one_host_read_a_shard_once(local: str, s3: str, server: Faulty) -> None:
    processes = [start(s3), start(s3)]
    expected = [sha256(pack) for pack in packs(local)]
    assert [process.communicate()[0].split() for process in processes] == [expected] * 2
    assert len(reads(server)) == NUM_SHARDS
    assert set(reads(server).values()) == {1}


def test_a_fetch_that_is_killed_leaves_nothing_that_is_taken_for_whole(
    local: str, s3: str, cache: Path
) -> None:
    assert start(s3, "dies").wait() == -signal.SIGKILL
    assert {path.suffix for path in cache.iterdir()} == {"", ".part"}  # the first is .lock
    assert packs(s3) == packs(local)
    assert not [*cache.glob(".*.part")]


def test_a_training_over_s3_is_the_same_and_its_ranks_read_each_shard_once(
    server: Faulty, cache: Path, tmp_path: Path
) -> None:
    here = make_run(tmp_path / "store", {"pretrain": phase_settings()})
    there = tmp_path / "run" / "run.json"
    there.parent.mkdir()
    shutil.copy(here, there)
    fsspec.filesystem("s3").put(str(tmp_path / "store"), "s3://training/store", recursive=True)
    server.asked.clear()
    cloud = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    running = ranks.start(
        str(there),
        "--store",
        "s3://training/store",
        world=2,
        environment=cloud | {shard_cache.FOLDER: str(cache)},
    )
    assert running.wait() == [0, 0]
    assert set(reads(server).values()) == {1}
    assert len(reads(server)) == len(list(cache.glob("*.arrow"))) == 6  # held-out ones, too
    assert ranks.start(here).wait() == [0]
    assert losses(there) == pytest.approx(losses(Path(here)), rel=1e-5)


def losses(run_json: Path) -> list[float]:
    log = Lines(run_json.with_name("log.jsonl"), write=False).read()
    return [line["loss"] for line in log if line["kind"] == "step"]
