"""Which files lie at a source's path.

DIR          every file below it; over https what its index pages link to
FILE         that file
LIST.txt     a file a line: an address, or a path beside the list; # begins a comment
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from pipelines.remote import files_below, info_of, pinned, version_of
from schemas.errors import UserError
from schemas.remote import file_system, retried
from schemas.text import Source

TEXT = re.compile(r"\.parquet$|\.jsonl?(\.gz|\.zst)?$")


@dataclass(frozen=True)
class Found:
    """A file, as a listing shows it."""

    url: str
    relative: str
    info: Mapping[str, object]  # of its file system; void where it must be asked


def pinned_root(name: str, source: Source) -> tuple[str, str]:
    """A source's path and the hub's commit that it is of, resolved once: a build reads one."""
    try:
        return pinned(source.path)
    except FileNotFoundError as error:
        raise _lost(name, source) from error


def files_of(name: str, source: Source, root: str) -> Iterable[Found]:
    """Every file below a source's path, or that path, or what the list at that path names."""
    path = root.partition("?")[0] if root.startswith("http") else root
    if path.endswith(".txt"):
        yield from _listed(name, source, root)
        return
    fs, inside = file_system(root)
    try:
        info = info_of(root)
    except FileNotFoundError as error:
        raise _lost(name, source) from error
    if TEXT.search(path) and info["type"] == "file":
        yield Found(fs.unstrip_protocol(inside), posixpath.basename(path), info)
        return
    for path, info in files_below(root).items():
        relative = posixpath.relpath(path, inside)
        relative = unquote(relative) if root.startswith("http") else relative
        yield Found(fs.unstrip_protocol(path), relative, info)


def _listed(name: str, source: Source, root: str) -> Iterable[Found]:
    fs, path = file_system(root)
    try:
        lines = retried(lambda: fs.cat_file(path), root).decode().splitlines()
    except FileNotFoundError as error:
        raise _lost(name, source) from error
    folder = posixpath.dirname(root)
    for line in filter(None, (line.strip() for line in lines)):
        if line.startswith("#"):
            continue
        url = line if "://" in line else posixpath.join(folder, line)
        # Neither scheme nor host: a mirror holds the same documents.
        relative = line.partition("://")[2].partition("/")[2] if "://" in line else line
        yield Found(pinned(url)[0], relative.partition("?")[0].lstrip("/"), {})


def known(file: Found) -> Mapping[str, object]:
    """What is said of a file, its size at least."""
    told = bool(file.info.get("size") is not None and version_of(file.info))
    try:
        info = file.info if told else info_of(file.url)
    except FileNotFoundError as error:
        raise UserError(
            f"{file.url} does not exist, but is listed; take it out of the list or put it there"
        ) from error
    if info.get("size") is None:
        raise UserError(f"{file.url}: its server does not say how large it is; read a copy of it")
    return info


def _lost(name: str, source: Source) -> UserError:
    return UserError(
        f"sources.{name}.path: {source.path} does not exist; point it elsewhere with "
        f"--set sources.{name}.path=DIR{sample_hint(source)}"
    )


def sample_hint(source: Source) -> str:
    """What a sample can do for it: there is none of any other data set."""
    if source.format not in ("fineweb2", "dclm", "dolmino"):
        return ""
    folder = posixpath.dirname(source.path) or "."
    return f" or write a sample with `mmbert sample {folder}`"
