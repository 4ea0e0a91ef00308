"""A hub on loopback for huggingface_hub's real client: data sets are folders, a commit each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import pytest
from huggingface_hub import HfFileSystem

from tests.servers import Answer, Faulty

_API = re.compile(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?")
_FILE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.*)")


class Hub(Faulty):
    """`folder/OWNER/NAME` is a data set; `commits` names the commit of each of its revisions."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.commits: dict[str, str] = {"main": "a" * 40}

    def _file(self, asked: BaseHTTPRequestHandler) -> Answer:
        assert self.folder is not None
        path = unquote(urlsplit(asked.path).path)
        if found := _FILE.fullmatch(path):
            asked.path = f"/{found[1]}/{found[3]}"
            answer = super()._file(asked)
            headers = answer.headers | {"X-Repo-Commit": self._commit(found[2])}
            return Answer(answer.status, headers, answer.body)
        if found := _API.fullmatch(path):
            name, kind, revision, inside = found.groups()
            folder = self.folder / name
            commit = self._commit(revision or "main")
            if not folder.is_dir() or not commit:
                code = "RepoNotFound" if not folder.is_dir() else "RevisionNotFound"
                return Answer(404, {"X-Error-Code": code}, b"{}")
            if kind == "tree":
                return self._tree(
                    folder, unquote(inside or ""), "recursive=true" in asked.path.lower()
                )
            return _json({"id": name, "sha": commit, "siblings": []})
        return Answer(404, {}, b"{}")

    def _commit(self, revision: str) -> str:
        return revision if revision in self.commits.values() else self.commits.get(revision, "")

    def _tree(self, folder: Path, inside: str, recursive: bool) -> Answer:
        top = folder / inside
        if not top.is_dir():
            return Answer(404, {"X-Error-Code": "EntryNotFound"}, b"{}")
        paths = sorted(top.rglob("*") if recursive else top.iterdir())
        return _json([_entry(folder, path) for path in paths])


def _entry(folder: Path, path: Path) -> dict[str, object]:
    name = str(path.relative_to(folder))
    if path.is_dir():
        return {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
    data = path.read_bytes()
    lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 100}
    return {"type": "file", "oid": "1" * 40, "size": len(data), "path": name, "lfs": lfs}


def _json(value: object) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(value).encode())


@contextmanager
def hub_of(folder: Path) -> Iterator[Hub]:
    """hf:// is this folder."""
    with pytest.MonkeyPatch.context() as patch, Hub(folder) as hub:
        constants = huggingface_hub.constants
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "ENDPOINT", hub.url)
        HfFileSystem.clear_instance_cache()
        yield hub
    HfFileSystem.clear_instance_cache()
