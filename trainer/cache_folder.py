"""The folder of a cache that threads and processes fill together: whose turn it is, who has room.

<name>          whole: it was renamed once it was
.<name>.part    being written by whoever holds the lock on it, as large as it will be; what
                nobody holds was left by a process that was killed, and goes
.lock           held for the moment in which somebody counts what there is and evicts
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, EEXIST, EFBIG, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import IO

from schemas.errors import UserError

FOLDER, BOUND = "MMBERT_CACHE", "MMBERT_CACHE_GB"
DEFAULT_GB = 100.0

_OF_THE_DISK = {EACCES, EDQUOT, EEXIST, EFBIG, ENOSPC, ENOTDIR, EPERM, EROFS}


def settings() -> tuple[Path, int]:
    """The folder and the bound in bytes that the environment asks for; UserError if it cannot."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mmbert" / "shards"
    folder = Path(os.environ.get(FOLDER) or default).expanduser().absolute()
    said = os.environ.get(BOUND) or str(DEFAULT_GB)
    try:
        bound = round(float(said) * 1e9)
    except (ValueError, OverflowError):
        bound = 0
    if bound <= 0:
        raise UserError(f"{BOUND}={said} is no size: set it to a number of GB above 0, {BOUND}=100")
    return folder, bound


class CacheFolder:
    """At most `bound_bytes` of shards in `path`; `of` says in an error what is kept there."""

    def __init__(self, path: Path, bound_bytes: int, of: str) -> None:
        self.path = path
        self._bound, self._of = bound_bytes, of
        with self.usable():
            path.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def claimed(self, name: str) -> Iterator[IO[bytes] | None]:
        """An empty file for what will have that name, see `publish`; None while another has it."""
        path = self._part(name)
        with self.usable():
            self.path.mkdir(parents=True, exist_ok=True)  # someone may tidy up during a run
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with os.fdopen(descriptor, "r+b") as part:
            if not (_locked(part) and _lies_at(part, path)):
                yield None
                return
            try:
                part.truncate(0)
                yield part
            finally:
                if _lies_at(part, path):  # it was not published
                    path.unlink()

    def publish(self, claimed: str, name: str) -> None:
        """Give the file that was claimed for one name this one."""
        os.replace(self._part(claimed), self.path / name)

    def reserve(
        self, part: IO[bytes], name: str, size: int, kept: Container[str], spared: Container[str]
    ) -> bool:
        """Make a claimed file `size` bytes large, evicting what was touched longest ago.

        None of `kept` goes; one of `spared` goes last, and only for one of `kept`. False where
        there is no room, or none yet: others are being written that will be evicted first. Raises
        UserError where there never will be room for one of `kept`.
        """
        with self.usable(), (self.path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            whole, parts = self._files()
            parts.pop(name, None)
            total = sum(num_bytes for _, num_bytes, _ in whole) + sum(parts.values())
            excess = total + size - self._bound
            going = []
            for _, num_bytes, other in sorted(whole, key=lambda file: (file[2] in spared, file)):
                if excess > 0 and other not in kept and (name in kept or other not in spared):
                    going.append(other)
                    excess -= num_bytes
            if excess <= 0:
                for other in going:
                    (self.path / other).unlink(missing_ok=True)
                part.truncate(size)
                return True
        if name in kept and not any(num_bytes for o, num_bytes in parts.items() if o not in kept):
            raise UserError(
                f"{BOUND}={self._bound / 1e9:g} is too small: one window reads more than "
                f"{(self._bound + excess) / 1e9:g} GB of shards; set it to more"
            )
        return False

    @contextmanager
    def usable(self) -> Iterator[None]:
        """UserError where the folder cannot be written."""
        try:
            yield
        except OSError as error:
            if error.errno not in _OF_THE_DISK:
                raise
            raise UserError(
                f"the shards of {self._of} cannot be kept in {self.path} ({error.strerror}); free "
                f"space, or set {FOLDER} and {BOUND} to what there is"
            ) from error

    def _part(self, name: str) -> Path:
        return self.path / f".{name}.part"

    def _files(self) -> tuple[list[tuple[int, int, str]], dict[str, int]]:
        """(time, bytes, name) of what is whole, and the bytes of what is being written."""
        whole, parts = [], {}
        with os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # a copy that another process has removed
                    if entry.name.endswith(".arrow"):
                        status = entry.stat()
                        whole.append((status.st_mtime_ns, status.st_size, entry.name))
                    elif entry.name.endswith(".part") and not _left_behind(Path(entry.path)):
                        parts[entry.name[1 : -len(".part")]] = entry.stat().st_size
        return whole, parts


def _left_behind(part: Path) -> bool:
    """Whether nobody writes a file any more; it is removed then."""
    with part.open("rb") as file:
        if not _locked(file):
            return False
        part.unlink()
        return True


def _locked(file: IO[bytes]) -> bool:
    """Lock a file until it is closed, if nobody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lies_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file still has its name: between opening and locking, another may take it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
