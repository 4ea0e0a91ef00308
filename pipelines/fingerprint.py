"""The identity of an input file: sha256 of its bytes, or what its store vouches for.

Object stores name content themselves (ETag, an LFS sha256), so nothing is fetched to plan a build.
Any other file is read once; the digest is remembered in the store under size and time of change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pipelines.inventory import InputFile
from pipelines.open_input import open_input
from pipelines.remote import MODIFIED, info_of, version_of
from schemas.store import Store, exists, join, local_path, read_bytes, write_json


def fingerprints(store: Store, files: Iterable[InputFile]) -> dict[str, str]:
    """url -> digest for each file; never the address."""
    cache_url = join(store.url, "spills", "fingerprints.json")
    cache: dict[str, list[str]] = json.loads(read_bytes(cache_url)) if exists(cache_url) else {}
    known = len(cache)
    found: dict[str, str] = {}
    for file in files:
        path = local_path(file.url)
        version = file.version or ("" if path else version_of(info_of(file.url)))
        if version and not version.startswith(MODIFIED):
            found[file.url] = version
            continue
        stamp = _stamp(path) if path else version and f"{file.size_bytes}-{version}"
        entry = cache.get(file.url)
        if entry is None or not stamp or entry[0] != stamp:
            with path.open("rb") if path else open_input(file) as opened:
                entry = [stamp, hashlib.file_digest(opened, "sha256").hexdigest()]
            cache[file.url] = entry
            known = -1
        found[file.url] = entry[1]
    if known != len(cache):
        write_json(cache_url, cache)
    return found


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"
