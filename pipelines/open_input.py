"""The one place that opens an input file: its bytes in order, whole, and all of one version.

In: a file of the inventory. Out: a seekable stream of bytes. A remote file is read in blocks; a
block that breaks, or comes short, is fetched again from its first byte, so that what is above this
module (gzip, lines, rows) never sees a break that is the network's. The file is compared with what
the plan saw of it before the first block, after every broken one and at the end.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from pipelines.inventory import InputFile
from pipelines.remote import info_of, version_of
from schemas.errors import UserError
from schemas.remote import ask, file_system, retried
from schemas.store import local_path

BLOCK_BYTES = 4 << 20  # of one request: what a broken one repeats


@contextmanager
def open_input(file: InputFile) -> Iterator[io.BufferedIOBase]:
    """A binary, seekable stream.

    Raises UserError, at any read and at the end, for a file that is gone or not the one that was
    planned, and for a server that does not answer.
    """
    path = local_path(file.url)
    if path is not None:
        _require_same(file, info_of)
        with path.open("rb") as local:
            yield local
    else:
        with io.BufferedReader(_Remote(file)) as remote:
            yield remote
    _require_same(file, info_of)


def _require_same(file: InputFile, ask: Callable[[str], Mapping[str, object]]) -> None:
    """UserError where a file is gone, or is no longer what its inventory says."""
    try:
        info = ask(file.url)
    except FileNotFoundError as error:
        raise UserError(
            f"{file.url} is gone since the build was planned; put it back, or run the same command "
            "again to plan without it"
        ) from error
    changed = info.get("size") != file.size_bytes
    if changed or (file.version and version_of(info) != file.version):
        raise UserError(
            f"{file.url} was changed since the build was planned; run the same command again to "
            "plan with what it holds now"
        )


class _Remote(io.RawIOBase):
    """A remote file, read by ranges."""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._place = 0
        self._block = b""  # the last one, and where it begins
        self._begin = 0
        self._opened: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._file.size_bytes}
        self._place = max(0, start[whence] + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        place, size = self._place, self._file.size_bytes
        if place >= size:
            return 0
        if not self._begin <= place < self._begin + len(self._block):
            first = place // BLOCK_BYTES * BLOCK_BYTES
            self._block = retried(lambda: self._range(first, BLOCK_BYTES), self._file.url)
            self._begin = first
        data = self._block[place - self._begin :][: len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._drop()
        super().close()

    def _range(self, first: int, num_bytes: int) -> bytes:
        """`num_bytes` from `first` on, or all up to the end; OSError for fewer or more."""
        num_bytes = min(num_bytes, self._file.size_bytes - first)
        try:
            if self._opened is None:
                _require_same(self._file, ask)
                self._opened = self._open()
            self._opened.seek(first)
            data = self._opened.read(num_bytes)
            if len(data) != num_bytes:
                raise OSError(f"{len(data):,} bytes came in place of {num_bytes:,}")
        except Exception as error:
            self._drop()
            if isinstance(error, ValueError) and not isinstance(error, UserError):
                raise UserError(
                    f"{self._file.url} cannot be read in parts ({error}); read a copy of it"
                ) from error
            raise
        return data

    def _open(self) -> IO[bytes]:
        fs, path = file_system(self._file.url)
        opened: IO[bytes] = fs.open(path, "rb", block_size=BLOCK_BYTES, cache_type="none")
        return opened

    def _drop(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = None
