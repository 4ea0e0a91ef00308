"""Where things lie in a store, and how a file comes to exist in it.

A store is any fsspec URL. A file appears whole or not at all: on a local disk it is written under
a temporary name, flushed to the disk and renamed; an object store takes it in one PUT. Writers
that race write the same name with the same bytes, or an orphan that nothing refers to.

    tokenizers/<digest>/        tokenizer.json (and .model), seal.json
    spills/<file id>/           what the map step made of one input file; may be deleted
    strata/<source>/<language>/<tier>/<id>/    shards, dropped.parquet, stratum.json (written last)
    catalogues/                 the shards of a build; the newest build of each phase
    exclusions/<id>.parquet     documents that are not delivered
    manifests/<recipe>/<phase>/<id>/           shards.arrow, manifest.json (written last)
    manifests/<recipe>/<phase>/<name>.json     a name that points to an id
    runs/<recipe>-<id>/         run.json, journal.jsonl, log.jsonl, checkpoints/, models/,
                                snapshots/, report/
    heldout/<id>.json           the held-out text of a recipe
    prefect/                    the Prefect server's home
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import fsspec
import fsspec.config
from fsspec.implementations.local import LocalFileSystem

from schemas.digest import Json, canonical
from schemas.errors import UserError

# A listing that is remembered would not show what another process has written since.
fsspec.config.conf.setdefault("s3", {}).setdefault("use_listings_cache", False)


def join(url: str, *parts: str) -> str:
    """`url/part/part`, whatever the protocol."""
    return "/".join([url.rstrip("/"), *parts])


def exists(url: str) -> bool:
    if local := local_path(url):
        return local.exists()
    from schemas import remote  # it asks `local_path`, and a local store needs no client

    return remote.exists(url)


def read_bytes(url: str) -> bytes:
    """The file's bytes; FileNotFoundError when it is not there.

    What is not on a disk is tried again while the network is at fault, here as in `exists`; a
    UserError says where it stays so.
    """
    if local := local_path(url):
        return local.read_bytes()
    from schemas import remote

    return remote.read_bytes(url)


def local_path(url: str) -> Path | None:
    """The path when the URL is on a local disk (so it can be memory-mapped), else None."""
    if "::" not in url and "://" not in url:
        return Path(
            os.path.abspath(os.path.expanduser(url))
        )  # as fsspec has it, in a tenth of the time
    fs, path = fsspec.core.url_to_fs(url)
    return Path(path) if isinstance(fs, LocalFileSystem) else None


def write_bytes(url: str, data: bytes) -> None:
    """Publish a file whole: see the module's opening lines."""
    with open_atomic(url) as file:
        file.write(data)


def json_file(value: Json) -> bytes:
    """The bytes of a JSON file."""
    return canonical(value) + b"\n"


def write_json(url: str, value: Json) -> None:
    write_bytes(url, json_file(value))


@contextmanager
def open_atomic(url: str) -> Iterator[IO[bytes]]:
    """A binary file that exists under its name only when the block ended without an error."""
    path = local_path(url)
    if path is None:
        buffer = io.BytesIO()
        yield buffer
        fs, remote = fsspec.core.url_to_fs(url)
        fs.pipe_file(remote, buffer.getvalue())
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # its folder may be what could not be made
            temporary.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free space or fix the permissions, "
            "then run the same command again (finished work is kept)"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def publish_folder(temporary: Path, folder: Path) -> None:
    """Give a folder its name once all its files are on the disk, in place of one that has it.

    A kill in between leaves the new one, the old one or none: never a part, and the name last.
    """
    for path in temporary.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(temporary)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(temporary, folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Store:
    """The root of a store: names only, no state."""

    url: str

    @classmethod
    def at(cls, url: str) -> Store:
        """A store at a URL; a bare path becomes absolute."""
        return cls(url.rstrip("/") if "://" in url else str(Path(url).absolute()))

    def resolve(self, relative: str) -> str:
        """The URL of a store-relative name, as manifests write them."""
        return join(self.url, relative)

    def relative(self, url: str) -> str:
        """The inverse of `resolve`."""
        assert url.startswith(self.url + "/"), (url, self.url)
        return url[len(self.url) + 1 :]

    def remove(self, url: str) -> None:
        """Delete a file or a folder, if it is there.

        What makes a folder count is JSON (spill.json, gathered-N.json, ...): it goes first, so that
        a removal that is cut off leaves no part that counts.
        """
        fs, path = fsspec.core.url_to_fs(url)
        if not fs.exists(path):
            return
        if fs.isdir(path):
            for file in fs.find(path):
                if file.endswith(".json"):
                    fs.rm_file(file)
        fs.rm(path, recursive=fs.isdir(path))
