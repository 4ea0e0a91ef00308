"""What the cache keeps, what it lets go, and where it lies."""

import io
import os
import shutil
import threading
import uuid
from pathlib import Path
from typing import IO

import fsspec
import pytest

from schemas import erased
from schemas.digest import sha256
from schemas.erased import Erased, ErasedShard
from schemas.errors import UserError
from schemas.remote import open_remote
from schemas.shard import ShardMeta, digest_of, write
from schemas.store import Store
from tests.stores import TOKENIZER, VOCAB_SIZE, documents_of
from trainer import shard_cache
from trainer.cache_folder import CacheFolder
from trainer.shard_cache import ShardCache, settings


@pytest.fixture
def store() -> Store:
    return Store(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def urls(store: Store) -> list[str]:
    """Four shards of one size."""
    meta = ShardMeta(TOKENIZER, VOCAB_SIZE, "fineweb2/deu_Latn/all")
    folder = store.resolve("strata/deu")
    tables = [documents_of("deu", [50, 60], first) for first in range(4)]
    names = [write(folder, i, 4, table, meta) for i, table in enumerate(tables)]
    return [f"strata/deu/{name}" for name in names]


def cache_of(store: Store, urls: list[str], folder: Path, num_shards: int) -> ShardCache:
    """With room for so many of them."""
    size = fsspec.filesystem("memory").size(store.resolve(urls[0]).removeprefix("memory:/"))
    return ShardCache(store, urls, folder, num_shards * size)


def expect(cache: ShardCache, now: list[str], soon: list[str]) -> None:
    cache.expect(now, soon)
    cache._ahead.finish()


def test_what_two_windows_read_is_kept_and_what_comes_after_waits(
    store: Store, urls: list[str], tmp_path: Path
) -> None:
    a, b, c, d = urls
    cache = cache_of(store, urls, tmp_path, 2)
    expect(cache, [a], [b])
    assert [cache.holds(url) for url in urls] == [True, True, False, False]
    expect(cache, [b], [c])  # packs of the window before may still be read
    assert [cache.holds(url) for url in urls] == [True, True, False, False]
    expect(cache, [c], [d])
    assert [cache.holds(url) for url in urls] == [False, True, True, False]


def test_what_was_expected_longest_ago_goes_first(
    store: Store, urls: list[str], tmp_path: Path
) -> None:
    a, b, c, d = urls
    cache = cache_of(store, urls, tmp_path, 3)
    for now in ([a], [b], [c], [a], [c]):
        expect(cache, now, [])
    expect(cache, [c], [d])
    assert [cache.holds(url) for url in urls] == [True, False, True, True]


def test_what_comes_next_goes_last(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path, 3, of="a store")
    for age, name in enumerate(["used", "next", "older"]):
        (tmp_path / f"{name}.arrow").write_bytes(b"x")
        os.utime(tmp_path / f"{name}.arrow", (9 - age, 9 - age))
    for room, left in [(1, {"used", "next"}), (2, {"next"}), (3, set())]:
        with folder.claimed("now") as part:
            assert part is not None
            assert folder.reserve(part, "now", room, kept={"now"}, spared={"next.arrow"})
        assert {path.stem for path in tmp_path.glob("*.arrow")} == left


def test_a_shard_that_nobody_expected_is_there_when_it_is_opened(
    store: Store, urls: list[str], tmp_path: Path
) -> None:
    cache = cache_of(store, urls, tmp_path, 1)
    assert cache.open(urls[0]).lengths.tolist() == [50, 60]
    (path,) = tmp_path.glob("*.arrow")
    assert sha256(path.read_bytes())[:16] == path.stem


def test_a_folder_that_cannot_be_written_is_named(
    store: Store, urls: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be kept in .*set MMBERT_CACHE"):
        cache_of(store, urls, tmp_path / "file" / "cache", 1)


def test_it_lies_in_the_users_cache_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MMBERT_CACHE", raising=False)
    monkeypatch.delenv("MMBERT_CACHE_GB", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert settings() == (tmp_path / "mmbert" / "shards", 100 * 10**9)
    monkeypatch.setenv("MMBERT_CACHE", "/fast/disk")
    monkeypatch.setenv("MMBERT_CACHE_GB", "2.5")
    assert settings() == (Path("/fast/disk"), 2_500_000_000)
    monkeypatch.setenv("MMBERT_CACHE_GB", str(64_722 / 1e9))  # which times 1e9 is a bit less
    assert settings()[1] == 64_722


def erase(store: Store, url: str) -> bytes:
    """Take a document down: the bytes of the shard as they are now."""
    folder, name = store.resolve(url).rsplit("/", 1)
    fs, path = fsspec.core.url_to_fs(store.resolve(url))
    data = fs.cat_file(path)
    tokens = documents_of("deu", [50]).column("tokens")[0].values.to_numpy().tobytes()
    changed = data.replace(tokens, bytes(len(tokens)))
    assert changed != data
    entry = ErasedShard(before=digest_of(name), after=sha256(changed), documents=(0,))
    erased.save(folder, Erased(shards={name: entry}))
    fs.pipe_file(path, changed)
    return changed


def test_an_erasure_while_a_process_runs_does_not_stop_it(
    store: Store, urls: list[str], tmp_path: Path
) -> None:
    cache = cache_of(store, urls, tmp_path, 4)
    cache.open(urls[0])
    changed = erase(store, urls[0])
    cache_of(store, urls, tmp_path, 4)  # a newer process: the old copy goes
    assert not cache.holds(urls[0])
    assert not cache.open(urls[0]).document(0).any()
    assert [path.read_bytes() for path in tmp_path.glob("*.arrow")] == [changed]


@pytest.mark.parametrize("size", [0, 300])
def test_a_copy_that_was_cut_is_fetched_anew(
    store: Store, urls: list[str], tmp_path: Path, size: int
) -> None:
    cache_of(store, urls, tmp_path, 4).open(urls[0])
    (path,) = tmp_path.glob("*.arrow")
    path.write_bytes(path.read_bytes()[:size])
    assert cache_of(store, urls, tmp_path, 4).open(urls[0]).lengths.tolist() == [50, 60]
    assert sha256(path.read_bytes())[:16] == path.stem


class OfUnknownSize(io.BytesIO):
    """As fsspec opens https where the server does not tell the length."""

    size = None


def test_a_server_that_does_not_tell_the_length_is_read_within_the_bound(
    store: Store, urls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_unknown_size(url: str, piece_bytes: int) -> io.BytesIO:
        return OfUnknownSize(fsspec.filesystem("memory").cat_file(url.removeprefix("memory:/")))

    monkeypatch.setattr(shard_cache, "open_remote", of_unknown_size)
    cache = cache_of(store, urls, tmp_path, 2)
    for url in urls:
        expect(cache, [url], [])
        assert cache.open(url).lengths.tolist() == [50, 60]
    assert [cache.holds(url) for url in urls] == [False, False, True, True]


def test_a_cache_that_is_removed_in_a_run_is_filled_again(
    store: Store, urls: list[str], tmp_path: Path
) -> None:
    cache = cache_of(store, urls, tmp_path / "cache", 4)
    cache.open(urls[0])
    shutil.rmtree(tmp_path / "cache")
    assert cache.open(urls[0]).lengths.tolist() == [50, 60]


def test_shards_are_fetched_at_once_and_what_comes_after_waits_for_them(
    store: Store, urls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *now, after = urls
    begun: list[str] = []
    met = threading.Barrier(len(now))

    def together(place: str, piece_bytes: int) -> IO[bytes]:
        if not place.endswith(after):
            met.wait(30)
        else:
            assert all(cache.holds(url) for url in now)
        begun.append(place)
        return open_remote(place, piece_bytes)

    monkeypatch.setattr(shard_cache, "open_remote", together)
    cache = cache_of(store, urls, tmp_path, 4)
    expect(cache, now, [after])
    assert all(cache.holds(url) for url in urls)
    assert len(begun) == len(urls)


def test_what_is_needed_now_waits_for_room_that_a_later_one_still_takes(
    store: Store, urls: list[str], tmp_path: Path
) -> None:
    a, b, *_ = urls
    cache = cache_of(store, urls, tmp_path, 1)
    folder, later = cache._folder, cache._names[b]
    with folder.claimed(later) as part:
        assert part
        assert folder.reserve(part, later, 300, (), ())
        fetching = threading.Thread(target=lambda: cache.open(a))
        fetching.start()
        fetching.join(0.1)
        assert fetching.is_alive()  # it evicts the other one, once that is whole, or gone
    fetching.join(30)
    assert cache.holds(a)
