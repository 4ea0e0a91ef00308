"""What a remote source says of itself: its files, and which content they have.

In: a URL. Out: `info_of` a file, the `files_below` a folder; `version_of`, which tells two contents
of one name apart; `pinned`, an address of the hub with its commit. All through schemas/remote.py,
so with patience.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from fsspec.implementations.local import LocalFileSystem

from schemas.remote import ask, file_system, retried

if TYPE_CHECKING:
    from huggingface_hub.hf_file_system import HfFileSystemResolvedRepositoryPath

MODIFIED = "modified:"  # a version that is a time, which says nothing of the content

_COMMIT = re.compile(r"@[0-9a-f]{40}(/|$)")


def info_of(url: str) -> dict[str, object]:
    """What its file system says of a file or folder; FileNotFoundError where there is none."""
    return retried(lambda: ask(url), url)


def files_below(url: str) -> dict[str, dict[str, object]]:
    """path -> info of every file below a folder.

    fsspec's own walk leaves out, without a word, what it cannot list.
    """
    fs, root = file_system(url)
    if not isinstance(fs, LocalFileSystem) and "http" not in fs.protocol:
        return retried(lambda: dict(fs.find(root, detail=True)), url)
    found: dict[str, dict[str, object]] = {}
    folders = [root]
    while folders:
        folder = folders.pop()
        for info in retried(partial(fs.ls, folder, detail=True), url):
            if info["type"] == "directory":
                folders.append(info["name"])
            else:
                found[info["name"]] = info
    return found


def version_of(info: Mapping[str, object]) -> str:
    """What tells one content of a file from another: a digest or ETag that its store vouches for,
    else when it was changed ("modified:..."); "" where nothing is said.
    """
    lfs = info.get("lfs")
    digests = [lfs.get("sha256") if isinstance(lfs, Mapping) else getattr(lfs, "sha256", None)]
    digests += [info.get(name) for name in ("sha256", "blob_id", "ETag", "etag")]
    for digest in digests:
        if digest:
            return str(digest).strip('"')
    for name in ("Last-Modified", "LastModified", "mtime"):
        if info.get(name):
            return f"{MODIFIED}{info[name]}"
    return ""


def pinned(url: str) -> tuple[str, str]:
    """(address, commit) of a place on the hub, so that a build never reads two revisions.

    A branch or a tag is resolved; any other URL comes back as it is, with "".
    """
    if not url.startswith("hf://") or url.startswith("hf://buckets/"):
        return url, ""
    if found := _COMMIT.search(url):
        return url, found[0].strip("@/")
    fs, path = file_system(url)

    def resolve() -> tuple[HfFileSystemResolvedRepositoryPath, str]:
        place = fs.resolve_path(path)
        told = fs._api.repo_info(place.repo_id, repo_type=place.repo_type, revision=place.revision)
        return place, told.sha

    place, commit = retried(resolve, url)
    repository = place.root.partition("@")[0]
    return f"hf://{repository}@{commit}/{place.path}".rstrip("/"), commit
