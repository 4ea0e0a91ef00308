"""`digests.json`: the sha256 of a folder's files, so that one that has changed can be named.

    {"files": {"model.safetensors": sha256, ...}, "id": content id of `files`}

For folders whose files are named by nothing that covers their bytes: tokenizers, checkpoints and
models. It is written before the file or the rename that makes the folder count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from schemas.digest import content_id, sha256
from schemas.store import exists, join, read_bytes, write_bytes, write_json

NAME = "digests.json"


def write(folder: str, files: Mapping[str, str]) -> None:
    """Write down name -> sha256 of files of a folder (any URL)."""
    write_json(join(folder, NAME), {"files": files, "id": content_id(files)})


def record(folder: Path) -> None:
    """Read every file of a local folder and write its digest down."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != NAME:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            files[path.relative_to(folder).as_posix()] = digest
    write(str(folder), files)


def put(folder: Path, name: str, data: bytes) -> None:
    """Write one more file, or another one of its name, and its digest where digests are kept."""
    write_bytes(str(folder / name), data)
    files = load(str(folder))
    if files is not None:
        write(str(folder), files | {name: sha256(data)})


def load(folder: str) -> dict[str, str] | None:
    """name -> sha256, or None where nothing is written down; ValueError when it is damaged."""
    url = join(folder, NAME)
    if not exists(url):
        return None
    content = json.loads(read_bytes(url))
    if not isinstance(content, dict) or content.get("id") != content_id(content.get("files")):
        raise ValueError(f"its id is not that of its content: {content.get('id')}")
    return content["files"]
