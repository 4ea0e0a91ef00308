"""Where things lie and run: the store, the cache of a remote one, what the profile asks for.

The store is tried by a file that is written, read and removed. One that does not exist yet is
tried where it would be made.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import fsspec

from flows.doctor.finding import Finding, ok, problem, warning
from flows.job import Job, Profile
from schemas.errors import UserError
from schemas.figures import num_bytes
from schemas.store import Store, join, local_path, read_bytes, write_bytes

PROBE = b"mmbert doctor: may be removed"
NEEDS = {"slurm": ("sbatch", "scancel", "srun"), "kubernetes": ("kubectl",)}


def place_findings(job: Job) -> Iterator[Finding]:
    store = job.at()
    yield _store(store)
    if local_path(store.url) is None:
        yield warning(
            "training",
            f"{store.url} can be built into; a training writes its run to a local disk",
            "mmbert train --store FOLDER, or torchrun -m trainer RUN.json --store URL",
        )
        yield _cache()
    yield from _profile(job.profile)


def existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _store(store: Store) -> Finding:
    local = local_path(store.url)
    place = str(existing(local)) if local else store.url
    probe = join(place, f".mmbert-doctor-{uuid.uuid4().hex}")
    try:
        write_bytes(probe, PROBE)
        if read_bytes(probe) != PROBE:
            raise OSError("what was written is not what is read")
        fs, path = fsspec.core.url_to_fs(probe)
        fs.rm(path)
    except Exception as error:  # whatever a file system's client raises
        told = " ".join(str(getattr(error, "strerror", None) or error).split())[:160]
        mend = "name another with --store, or mend its permissions and credentials"
        return problem("store", f"{place} cannot be written: {told or type(error).__name__}", mend)
    made = "" if place == store.url else f" does not exist yet, {place}"
    return ok("store", f"{store.url}{made} can be written")


def _cache() -> Finding:
    from trainer.shard_cache import BOUND, FOLDER, settings

    try:
        folder, bound = settings()
    except UserError as error:
        return problem("cache", str(error), f"unset {BOUND}")
    place = existing(folder)
    free = shutil.disk_usage(place).free
    held = sum(shard.stat().st_size for shard in folder.glob("*.arrow"))
    told = f"{folder}: at most {num_bytes(bound)} of shards, {num_bytes(free)} free"
    if not os.access(place, os.W_OK):
        return problem("cache", f"{folder} cannot be written", f"set {FOLDER} to a folder that can")
    if free + held < bound:
        return warning("cache", told, f"set {BOUND} to less, or {FOLDER} to a larger disk")
    return ok("cache", told)


def _profile(profile: Profile) -> Iterator[Finding]:
    kinds = [kind for kind in NEEDS if kind in (profile.build.executor, profile.train.launcher)]
    for kind in kinds:
        lacking = [name for name in NEEDS[kind] if shutil.which(name) is None]
        if lacking:
            told = f"{', '.join(lacking)} is not on the PATH, and the profile runs things on {kind}"
            yield problem(kind, told, f"run this on a host that has them, or without --on {kind}")
        else:
            yield ok(kind, f"{', '.join(NEEDS[kind])} found")
    if profile.build.executor == "ray":
        if find_spec("ray") is None:
            yield problem("ray", "Ray is not installed", 'pip install -e ".[ray]" on every host')
        else:
            yield ok("ray", "installed; a build asks for the cluster when it begins")
