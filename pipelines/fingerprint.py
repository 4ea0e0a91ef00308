"""The identity of an input file: sha256 of its bytes, or what its store vouches for.

Object stores name content themselves (ETag, an LFS sha256), so nothing is fetched to plan a build.
Local files are read once; the digest is remembered in the store under size and time of change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import fsspec

from pipelines.inventory import InputFile
from schemas.store import Store, exists, join, local_path, read_bytes, write_json


def fingerprints(store: Store, files: Iterable[InputFile]) -> dict[str, str]:
    """url -> digest for each file."""
    cache_url = join(store.url, "spills", "fingerprints.json")
    cache: dict[str, list[str]] = json.loads(read_bytes(cache_url)) if exists(cache_url) else {}
    known = len(cache)
    found: dict[str, str] = {}
    for file in files:
        path = local_path(file.url)
        if path is None:
            found[file.url] = _remote(file.url)
            continue
        status = path.stat()
        stamp = f"{status.st_size}-{status.st_mtime_ns}"
        entry = cache.get(file.url)
        if entry is None or entry[0] != stamp:
            with path.open("rb") as opened:
                entry = [stamp, hashlib.file_digest(opened, "sha256").hexdigest()]
            cache[file.url] = entry
            known = -1
        found[file.url] = entry[1]
    if known != len(cache):
        write_json(cache_url, cache)
    return found


def _remote(url: str) -> str:
    """What the store says of the content, else sha256 of the bytes; never the address."""
    fs, path = fsspec.core.url_to_fs(url)
    info = fs.info(path)
    lfs = info.get("lfs")
    vouched = [lfs.get("sha256") if isinstance(lfs, dict) else getattr(lfs, "sha256", None)]
    vouched += [info.get(name) for name in ("sha256", "blob_id", "ETag", "etag")]
    for name in vouched:
        if name:
            return str(name).strip('"')
    with fs.open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
