"""Shards of a remote store on a local disk: fetched whole, ahead of need, within a bound.

    $MMBERT_CACHE/<digest>.arrow    default: ~/.cache/mmbert/shards
    $MMBERT_CACHE_GB                10**9 bytes of them, default 100

Settings of a machine, so no recipe knows them. `expect` says what the window at hand reads and what
comes after it; a few threads fetch that in this order, since 1,833 small shards one after another
would be 1,833 times a server's delay, and `open` maps a shard once it is there. A shard is written
to a `.part` in pieces, hashed on the way, and renamed: what has a name is whole. It is named by the
digest of what it has to be now, so a copy from before an erasure is not used: it goes.

Processes share the folder (trainer/cache_folder.py). Each shard is fetched by whoever claims it, so
all ranks of a host together read it once. What was expected longest ago goes first, what comes
after the window at hand last, and what that window reads never: with room for two windows, for what
comes next and for the shards that are begun, one a stratum, each is read once an epoch. The space
of an evicted shard is free once no process maps it any more, which `OpenShards` sees to at every
window.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import pyarrow as pa

from schemas import erased
from schemas.erased import Erased
from schemas.errors import UserError
from schemas.remote import file_system, open_remote, retried, tells_of_absence
from schemas.shard import Shard, parse_shard
from schemas.store import Store, join, local_path
from trainer.background import Background
from trainer.cache_folder import BOUND, FOLDER, CacheFolder, settings
from trainer.damage import sha256_of

__all__ = ["BOUND", "FOLDER", "ShardCache", "cache_of", "settings"]

FETCHES_AT_ONCE = 8
PIECE_BYTES = 4 << 20  # of one request, and in memory for each of them
POLL_S = 0.01
LOOKUPS_AT_ONCE = 32


def cache_of(store: Store, urls: Sequence[str]) -> ShardCache | None:
    """The cache of a store's shards, where the environment wants it; none for a local store."""
    return None if local_path(store.url) else ShardCache(store, urls, *settings())


class ShardCache:
    """The shards of a store at store-relative `urls`, in a folder of this machine."""

    def __init__(self, store: Store, urls: Sequence[str], folder: Path, bound_bytes: int):
        self._store = store
        self._folder = CacheFolder(folder, bound_bytes, of=store.url)
        self._names = self._name(urls)
        self._now: frozenset[str] = frozenset()
        self._kept: frozenset[str] = frozenset()  # of the window at hand and the one before
        self._soon: frozenset[str] = frozenset()
        self._missing: set[str] = set()  # of the window at hand, that are not fetched yet
        self._fetched: set[str] = set()  # by this process, which hashed them on the way
        self._ahead: Background[tuple[str, set[str]]] = Background(
            "fetch", self._fetch_ahead, at_once=FETCHES_AT_ONCE
        )

    def open(self, url: str) -> Shard:
        """A shard, mapped; waits until it is there, or fetches it.

        Raises UserError when it cannot be had, when its bytes are not those that its name tells of,
        and when there is no room for it.
        """
        while True:
            path = self._path(url)
            try:
                source = pa.memory_map(str(path))
            except FileNotFoundError:
                self._kept |= {self._names[url]}
                self._fetch(url)
            else:
                try:
                    return parse_shard(self._store.resolve(url), source)
                except UserError:
                    if self._is_whole(path):
                        raise
                    path.unlink(missing_ok=True)  # a damaged copy: fetched anew

    def require_whole(self, url: str) -> None:
        """Hash a copy that this process did not fetch; a damaged one goes, with a UserError."""
        path = self._path(url)
        if path.name in self._fetched or self._is_whole(path):
            return
        path.unlink(missing_ok=True)
        raise UserError(
            f"{path}, this machine's copy of {self._store.resolve(url)}, is damaged and was "
            "removed; run the same command again, which fetches it anew"
        )

    def holds(self, url: str) -> bool:
        return self._path(url).exists()

    def expect(self, now: Sequence[str], soon: Sequence[str]) -> None:
        """What the window at hand reads and what comes after, each in the order of its need."""
        before, self._now = self._now, frozenset(self._names[url] for url in now)
        self._kept = before | self._now  # the last packs of a window are read after the next's plan
        self._soon = frozenset(self._names[url] for url in soon)
        for name in [*self._soon, *self._kept]:
            with suppress(FileNotFoundError):
                os.utime(self._folder.path / name)
        missing = [url for url in dict.fromkeys([*now, *soon]) if not self.holds(url)]
        self._missing = {self._names[url] for url in missing} & self._now
        self._ahead.put(((url, self._missing) for url in missing), instead=True)

    def _name(self, urls: Sequence[str]) -> dict[str, str]:
        """The file name of each shard, by what it has to be now; copies of what it was go."""
        folders = dict.fromkeys(url.rsplit("/", 1)[0] for url in urls)
        with ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
            records = dict(zip(folders, pool.map(self._erased, folders), strict=True))
        names = {}
        for url in urls:
            folder, name = url.rsplit("/", 1)
            digest, built = records[folder].digest_now(name)[:16], erased.digest_of(name)
            names[url] = f"{digest}.arrow"
            if digest != built:
                (self._folder.path / f"{built}.arrow").unlink(missing_ok=True)
        return names

    def _name_again(self, url: str) -> None:
        """The file name by what was erased since this process began."""
        folder, name = url.rsplit("/", 1)
        now = f"{self._erased(folder).digest_now(name)[:16]}.arrow"
        if self._names[url] in self._kept:
            self._kept |= {now}
        self._names[url] = now

    def _erased(self, folder: str) -> Erased:
        """What was erased of a stratum."""
        url = join(self._store.resolve(folder), erased.NAME)
        fs, path = file_system(url)

        def read() -> Erased:
            try:
                return erased.parse(fs.cat_file(path))
            except Exception as error:
                if not tells_of_absence(error):
                    raise
                return Erased()

        return retried(read, url)

    def _is_whole(self, path: Path) -> bool:
        """Whether a copy has the bytes that its name tells of; one that has gone is not used."""
        try:
            return sha256_of(path).startswith(path.stem)
        except FileNotFoundError:
            return True

    def _path(self, url: str) -> Path:
        return self._folder.path / self._names[url]

    def _fetch_ahead(self, item: tuple[str, set[str]]) -> None:
        """Fetch what is expected; what comes after takes no room before all that is `missing` of
        the window at hand has its own, and waits no longer once something else is expected."""
        url, missing = item
        name = self._names[url]
        while missing and name not in missing and missing is self._missing:
            self._ahead.check()
            time.sleep(POLL_S)
        try:
            if missing is self._missing:
                with suppress(UserError):  # said by `open`, if it is still so when it is needed
                    self._fetch(url)
        finally:
            missing.discard(name)

    def _fetch(self, url: str) -> None:
        """Have a shard here, whoever fetches it; in vain where one that comes after has no room."""
        while not self._path(url).exists():
            name = self._names[url]
            with self._folder.claimed(name) as part:
                if part and not self._path(url).exists() and self._write(url, part):
                    return
                if part and name not in self._kept:
                    return
            time.sleep(POLL_S)

    def _write(self, url: str, part: IO[bytes]) -> bool:
        """Fetch a shard to its path; once more where what came is not what its name tells of."""
        place, claimed, digest = self._store.resolve(url), self._names[url], None
        try:
            for _ in range(2):  # a body that was cut short is no error of any client
                digest = retried(lambda: self._stream(place, part, claimed), place)
                if digest is None:
                    return False
                if not digest.startswith(self._path(url).stem):
                    self._name_again(url)
                if digest.startswith(self._path(url).stem):
                    self._folder.publish(claimed, self._names[url])
                    self._fetched.add(self._names[url])
                    return True
        except FileNotFoundError as error:
            raise UserError(
                f"{place} is not there: its stratum was removed, or copied without it; build it "
                "again with `mmbert data RECIPE`"
            ) from error
        assert digest is not None
        raise UserError(
            f"{place} is damaged: its bytes have the digest {digest[:16]}, its name or "
            f"{erased.NAME} tells of {self._path(url).stem}; delete "
            f"{place.rsplit('/', 1)[0]} and build that stratum again with `mmbert data RECIPE`"
        )

    def _stream(self, place: str, part: IO[bytes], name: str) -> str | None:
        """Write a remote file to `part`; returns the sha256 of what came, None without room."""
        hashed = hashlib.sha256()
        with open_remote(place, PIECE_BYTES) as source:
            room, done = getattr(source, "size", None) or 0, 0  # https may not say
            if not self._folder.reserve(part, name, room, self._kept, self._soon):
                return None
            with self._folder.usable():
                part.seek(0)
                while piece := _read(source, place):
                    done += len(piece)
                    if done > room and not self._folder.reserve(
                        part, name, room := done, self._kept, self._soon
                    ):
                        return None
                    hashed.update(piece)
                    part.write(piece)
                part.truncate(done)
                part.flush()
                os.fsync(part.fileno())
        return hashed.hexdigest()


def _read(source: IO[bytes], place: str) -> bytes:
    try:
        return source.read(PIECE_BYTES)
    except ValueError as error:  # of fsspec's https
        raise UserError(f"{place} cannot be read in parts ({error}); train on a copy") from error
