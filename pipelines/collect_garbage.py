"""Garbage: what nothing that is kept refers to, and how it leaves a store.

    kept     every run, and all manifests that have a name or that a run trains with or a checkpoint
             was trained with, and those that they continue
             of each phase the N newest manifests
             strata of kept manifests and held-out files, of the newest build of each phase, and
             those that were imported
    removed  other manifests, strata, exclusion lists, held-out files and catalogues; shards that no
             stratum.json ever committed; spills and half-written files

What was written within a day is left alone, since a build or a training may be about to refer to
it; and all spills while any of them was. A run that lies elsewhere than in `runs/` is not seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.holdings import HeldManifest, Holdings
from pipelines.imported import LAYOUT
from schemas import catalogue as catalogues
from schemas.point import Point
from schemas.run import Heldout
from schemas.store import Store, join, read_bytes

GRACE_S = 24 * 3600.0


@dataclass(frozen=True)
class Garbage:
    kind: str
    url: str  # of a file, or of a folder
    num_bytes: int
    commit: str | None = None  # the file that makes a folder count, which leaves first


def find_garbage(held: Holdings, keep: int, now: float | None = None) -> tuple[Garbage, ...]:
    """What can go, if of each phase `keep` manifests stay beside those with a name or a run."""
    before = (time.time() if now is None else now) - GRACE_S
    written = held.files | held.folders
    spills = max((file.written for file in held.below("spills").values()), default=0.0)
    return tuple(
        garbage
        for garbage in _find(held, keep)
        if max(written[garbage.url].written, spills * (garbage.kind == "spill")) < before
    )


def _find(held: Holdings, keep: int) -> Iterator[Garbage]:
    store = held.store
    needed = {store.resolve(p.current).rsplit("/", 1)[0] for r in held.runs for p in r.run.phases}
    needed |= {store.resolve(p.manifest).rsplit("/", 1)[0] for r in held.runs for p in r.run.phases}
    needed |= set(_of_checkpoints(held))
    phases: dict[tuple[str, str], list[str]] = {}
    for found in held.manifests:
        key = (found.manifest.recipe, found.manifest.phase)
        phases.setdefault(key, []).append(found.folder)
    for folders in phases.values():
        needed |= set(folders[len(folders) - keep :] if keep else ())
    kept = _with_continued([m for m in held.manifests if m.names or m.folder in needed], held)
    kept_folders = {m.folder for m in kept}
    for found in held.manifests:
        if found.folder not in kept_folders:
            commit = join(found.folder, "manifest.json")
            yield Garbage("manifest", found.folder, found.files.num_bytes, commit)

    heldout = {store.resolve(held_run.run.heldout) for held_run in held.runs}
    for url, file in held.below("heldout").items():
        if url not in heldout:
            yield Garbage("held-out file", url, file.num_bytes)
    lists = {ref.id for m in kept for ref in m.manifest.exclusions}
    for url, file in held.below("exclusions").items():
        name = url.rsplit("/", 1)[1].removesuffix(".parquet")
        if "-" not in name and name not in lists:  # with one: what was found in a set of strata
            yield Garbage("exclusion list", url, file.num_bytes)

    yield from _strata(held, {s.id for m in kept for s in m.manifest.strata}, heldout)
    for folder, files in held.folders.items():
        if folder.rsplit("/", 1)[0] == join(store.url, "spills"):
            yield Garbage("spill", folder, files.num_bytes)
    for url, file in held.files.items():
        name = url.rsplit("/", 1)[1]
        if name.startswith(".") and name.endswith(".tmp"):
            yield Garbage("half-written file", url, file.num_bytes)


def _of_checkpoints(held: Holdings) -> Iterator[str]:
    """The folders of manifests that brought runs to their checkpoints."""
    recipes = {held_run.folder: held_run.run.recipe for held_run in held.runs}
    for url in held.below("runs"):
        folder, _, checkpoint = url.removesuffix("/point.json").rpartition("/checkpoints/")
        if url.endswith("/point.json") and folder in recipes and not checkpoint.startswith("."):
            point = Point.model_validate_json(read_bytes(url))
            if point.manifest:  # else the phase's first
                manifests = join(held.store.url, "manifests", recipes[folder], point.phase)
                yield join(manifests, point.manifest)


def _with_continued(kept: list[HeldManifest], held: Holdings) -> list[HeldManifest]:
    """Manifests with all that they go on with."""
    wanted = {m.folder for m in kept}
    by_folder = {m.folder: m for m in held.manifests}
    left = list(kept)
    while left:
        found = left.pop()
        if found.manifest.continues:
            folder = join(found.folder.rsplit("/", 1)[0], found.manifest.continues.manifest)
            left += [by_folder[folder]] if folder in by_folder else []
            wanted.add(folder)
    return [m for m in held.manifests if m.folder in wanted]


def _strata(held: Holdings, used: set[str], heldout: set[str]) -> Iterator[Garbage]:
    store = held.store
    for url in heldout & held.files.keys():
        told = Heldout.model_validate_json(read_bytes(url))
        used |= {stratum.folder.rsplit("/", 1)[1] for stratum in told.strata}
    current = set()
    for url in held.below("catalogues"):
        if url.endswith(".json"):
            current.add(str(json.loads(read_bytes(url))["catalogue"]))
    for url, file in held.below("catalogues").items():
        identity = url.rsplit("/", 1)[1].removesuffix(".arrow")
        if url.endswith(".arrow") and identity not in current:
            yield Garbage("catalogue", url, file.num_bytes)
        elif url.endswith(".arrow"):
            used |= {listed.id for listed in catalogues.load(store, identity).strata}
    below = held.below("strata")
    committed = {url.rsplit("/", 1)[0] for url in below if url.endswith("/stratum.json")}
    for found in held.strata:
        imported = found.stratum.made_from.get("layout") == LAYOUT  # its text may be nowhere else
        if found.stratum.id not in used and not imported:
            commit = join(found.folder, "stratum.json")
            yield Garbage("stratum", found.folder, found.files.num_bytes, commit)
    for folder in {url.rsplit("/", 1)[0] for url in below} - committed:
        yield Garbage("orphan shards", folder, held.folders[folder].num_bytes)


def remove(store: Store, garbage: Garbage) -> None:
    """Delete one thing; a folder's commit goes first, so that no part of it ever counts."""
    if garbage.commit is not None:
        store.remove(garbage.commit)
    store.remove(garbage.url)
