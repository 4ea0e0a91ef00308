"""Damaged shards are found while they are trained on: a local shard is hashed beside its use.

In: a shard's URL and file. Out: nothing, or a UserError that names the file. The digest is the one
in the shard's name, or in erased.json where documents of it were erased. (Those of a remote store
are hashed as they are fetched, and copies from an earlier process as local ones:
trainer/shard_cache.py.)
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa

from schemas import erased
from schemas.errors import UserError

LOWEST_PRIORITY = 19  # of its thread: a batch never waits for a digest


def require_whole(url: str, path: Path) -> None:
    """Raises UserError where the bytes of a shard are not those that its name tells of."""
    folder, name = url.rsplit("/", 1)
    digest = sha256_of(path)
    if digest.startswith(erased.digest_of(name)):
        return
    record = erased.load(folder)
    if digest.startswith(record.digest_now(name)):
        return
    mends = f"delete its stratum's folder {folder} and build that again with `mmbert data RECIPE`"
    if name in record.shards:
        mends = f"erase the same documents again with `mmbert data erase`, or {mends}"
    raise UserError(
        f"{url} is damaged: its bytes have the digest {digest[:16]}, its name or {erased.NAME} "
        f"tells of {record.digest_now(name)[:16]}; {mends}"
    )


def sha256_of(path: Path) -> str:
    """Of a local file."""
    # One call over the mapped file: the interpreter's lock is free for all of it.
    with pa.memory_map(str(path)) as file:
        return hashlib.sha256(file.read_buffer()).hexdigest()
