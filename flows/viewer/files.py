"""The files of a store by name: which may be seen, folders, bytes and ranges of bytes.

In: a path below the store, as an address holds it. Out: a `Place`, or None for what is not there or
not shown: hidden and temporary files (names with a dot before them), Prefect's home with its
database, and whatever a link leads to outside the store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec

from schemas.store import Store, join, local_path

HIDDEN_TOPS = ("prefect",)  # of the store: the server's home
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    name: str
    is_folder: bool
    num_bytes: int


@dataclass(frozen=True)
class Place:
    """A file, or a folder, that may be seen."""

    path: str  # below the store, without a slash at either end
    url: str
    is_folder: bool
    num_bytes: int

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def entries(self) -> list[Entry]:
        """What lies in a folder, folders first."""
        fs, path = fsspec.core.url_to_fs(self.url)
        found = []
        for info in fs.ls(path, detail=True):
            name = str(info["name"]).rstrip("/").rsplit("/", 1)[-1]
            if is_shown([*self.path.split("/"), name] if self.path else [name]):
                is_folder = info["type"] == "directory"
                found.append(Entry(name, is_folder, 0 if is_folder else int(info["size"] or 0)))
        return sorted(found, key=lambda entry: (not entry.is_folder, entry.name))

    def read(self, most_bytes: int) -> bytes:
        fs, path = fsspec.core.url_to_fs(self.url)
        return bytes(fs.cat_file(path, start=0, end=min(self.num_bytes, most_bytes)))

    def chunks(self, first: int, last: int) -> Iterator[bytes]:
        """The bytes from `first` to `last`, both of them included."""
        with fsspec.open(self.url, "rb") as file:
            file.seek(first)
            left = last - first + 1
            while left > 0 and (data := file.read(min(CHUNK_BYTES, left))):
                left -= len(data)
                yield data


def is_shown(parts: list[str]) -> bool:
    """Whether the names on the way to a file are such that it may be seen."""
    if any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in parts):
        return False
    return not parts or parts[0] not in HIDDEN_TOPS


def find(store: Store, path: str) -> Place | None:
    """The file or folder at a path below the store; `` is the store."""
    path = path.removesuffix("/")
    parts = path.split("/") if path else []
    if not is_shown(parts):
        return None
    url = join(store.url, *parts) if parts else store.url
    root, local = local_path(store.url), local_path(url)
    if root is not None and local is not None and not _is_inside(local, root):
        return None
    fs, remote = fsspec.core.url_to_fs(url)
    try:
        info = fs.info(remote)
    except OSError:  # not there, below a file, or no name that a disk could hold
        return None
    is_folder = info["type"] == "directory"
    return Place(path, url, is_folder, 0 if is_folder else int(info["size"] or 0))


def _is_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header; None for one that asks for what is not there.

    Several ranges, numbers beyond all sizes and units that are not bytes are answered with the
    whole file: RFC 9110.
    """
    wanted = re.fullmatch(r"bytes=(\d{0,19})-(\d{0,19})", header.strip())
    if wanted is None or wanted.groups() == ("", ""):
        return 0, size - 1
    first, last = wanted.groups()
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) and size else None
    end = min(int(last), size - 1) if last else size - 1
    return (int(first), end) if int(first) <= end else None
