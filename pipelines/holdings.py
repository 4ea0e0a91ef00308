"""What a store holds: strata, manifests and runs, with their sizes and ages.

In: a store. Out: `Holdings`, read from names, sizes and the small JSON files; no shard is opened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import fsspec
from pydantic import ValidationError

from schemas import manifest as manifests
from schemas import run as runs
from schemas import stratum as strata
from schemas.errors import UserError
from schemas.manifest import Manifest
from schemas.run import Run
from schemas.store import Store, exists, join, read_bytes
from schemas.stratum import Stratum

T = TypeVar("T")


@dataclass(frozen=True)
class Files:
    """The files below a folder: how much, and when the newest of them was written."""

    num_bytes: int
    written: float  # seconds since 1970; infinity where the store does not tell


@dataclass(frozen=True)
class HeldStratum:
    folder: str
    stratum: Stratum
    files: Files


@dataclass(frozen=True)
class HeldManifest:
    folder: str
    manifest: Manifest
    names: tuple[str, ...]
    files: Files


@dataclass(frozen=True)
class HeldRun:
    folder: str
    run: Run
    made: tuple[str, ...]  # the models that lie in it
    files: Files


@dataclass(frozen=True)
class Holdings:
    store: Store
    files: dict[str, Files]  # by URL, each file
    folders: dict[str, Files]  # by URL, each folder below the top ones
    strata: tuple[HeldStratum, ...]
    manifests: tuple[HeldManifest, ...]  # of a phase the newest last
    runs: tuple[HeldRun, ...]

    def below(self, top: str) -> dict[str, Files]:
        """The files of one of the store's top folders."""
        start = join(self.store.url, top) + "/"
        return {url: files for url, files in self.files.items() if url.startswith(start)}


def holdings(store: Store) -> Holdings:
    """Everything in a store; UserError for a record that another version has written."""
    sizes = list_files(store)
    by_folder: dict[str, list[Files]] = {}
    for url, size in sizes.items():
        parts = url[len(store.url) + 1 :].split("/")
        for depth in range(2, len(parts)):
            by_folder.setdefault(store.resolve("/".join(parts[:depth])), []).append(size)
    below = {
        folder: Files(sum(f.num_bytes for f in found), max(f.written for f in found))
        for folder, found in by_folder.items()
    }

    def folders(top: str, name: str) -> Iterable[str]:
        start = join(store.url, top) + "/"
        ends = [url for url in sizes if url.startswith(start) and url.endswith(f"/{name}")]
        return [url.rsplit("/", 1)[0] for url in sorted(ends)]

    held = []
    for folder in folders("strata", "stratum.json"):
        stratum = _read(folder, strata.load)
        if stratum is not None:
            held.append(HeldStratum(folder, stratum, below[folder]))
    named: dict[str, list[str]] = {}
    for url in sizes:
        parts = url[len(store.url) + 1 :].split("/")
        if parts[0] == "manifests" and len(parts) == 4 and url.endswith(".json"):
            folder = url.rsplit("/", 1)[0]
            target = join(folder, json.loads(read_bytes(url))["manifest"])
            named.setdefault(target, []).append(parts[3].removesuffix(".json"))
    mixtures = [
        HeldManifest(
            folder,
            _read(join(folder, "manifest.json"), manifests.load),
            tuple(sorted(named.get(folder, ()))),
            below[folder],
        )
        for folder in folders("manifests", "manifest.json")
    ]
    trained = []
    for folder in folders("runs", "run.json"):
        run = _read(join(folder, "run.json"), runs.load)
        made = tuple(name for name in run.models if exists(join(folder, "models", name)))
        trained.append(HeldRun(folder, run, made, below[folder]))
    mixtures.sort(key=lambda m: (m.manifest.recipe, m.manifest.phase, m.files.written))
    return Holdings(store, sizes, below, tuple(held), tuple(mixtures), tuple(trained))


def _read(url: str, load: Callable[[str], T]) -> T:
    try:
        return load(url)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{url} is no record of this version ({'.'.join(map(str, first['loc']))}: "
            f"{first['msg'].lower()}), so what it refers to cannot be told; remove it, or use the "
            "version that wrote it"
        ) from error


def list_files(store: Store) -> dict[str, Files]:
    """Every file of a store, or of a folder of one, by URL."""
    if not exists(store.url):
        return {}
    fs, path = fsspec.core.url_to_fs(store.url)
    prefix = len(path.rstrip("/"))
    return {
        store.url + file[prefix:]: Files(int(info["size"] or 0), _written(info))
        for file, info in fs.find(path, detail=True).items()
    }


def _written(info: dict[str, object]) -> float:
    for key in ("mtime", "LastModified", "last_modified", "updated"):
        found = info.get(key)
        if isinstance(found, datetime):
            return found.timestamp()
        if isinstance(found, int | float):
            return float(found)
    return math.inf
