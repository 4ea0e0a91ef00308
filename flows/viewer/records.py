"""The records of a store, each read once: stratum.json, manifest.json, run.json.

Many small files of an object store are fetched at the same time, as fsspec does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import fsspec
from pydantic import BaseModel, ValidationError

from pipelines.holdings import Files

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Found(Generic[R]):
    folder: str
    record: R
    num_bytes: int  # of the record
    written: float


class Records:
    """What was read, for as long as its file has the same size and age."""

    def __init__(self) -> None:
        self._bytes: dict[str, tuple[Files, bytes]] = {}
        self._parsed: dict[str, tuple[Files, BaseModel | str]] = {}

    def read(
        self, files: dict[str, Files], name: str, kind: type[R], broken: dict[str, str]
    ) -> list[Found[R]]:
        """Every file of a name; one that is no such record goes to `broken`, with the reason."""
        urls = sorted(url for url in files if url.endswith(f"/{name}"))
        new = [url for url in urls if self._parsed.get(url, (None,))[0] != files[url]]
        for url, data in _fetch(new).items():
            if isinstance(data, bytes):
                self._parsed[url] = files[url], _parse(kind, data)
            else:  # next time it may be readable, as old and as large
                self._parsed.pop(url, None)
                broken[url] = f"cannot be read: {getattr(data, 'strerror', None) or data}"
        found = []
        for url in urls:
            known = self._parsed.get(url)
            if known is None:
                continue  # removed since it was listed
            record = known[1]
            if isinstance(record, kind):
                file = files[url]
                folder = url.rsplit("/", 1)[0]
                found.append(Found(folder, record, file.num_bytes, file.written))
            else:
                broken[url] = str(record)
        return found

    def bytes_of(self, url: str, file: Files) -> bytes:
        """A small file; empty when it has gone or cannot be read."""
        known = self._bytes.get(url)
        if known is None or known[0] != file:
            data = _fetch([url]).get(url, b"")
            if not isinstance(data, bytes):
                return b""
            known = file, data
            self._bytes[url] = known
        return known[1]


def _parse(kind: type[R], data: bytes) -> R | str:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}".removeprefix(": ")


def _fetch(urls: Sequence[str]) -> dict[str, bytes | Exception]:
    """Bytes by URL, or why there are none; without files that have gone."""
    if not urls:
        return {}
    fs, _ = fsspec.core.url_to_fs(urls[0])
    paths = {fs._strip_protocol(url): url for url in urls}
    got = fs.cat(list(paths), on_error="return")
    return {
        paths[path]: data for path, data in got.items() if not isinstance(data, FileNotFoundError)
    }
