"""What a verification has read so far, and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import fsspec

from schemas import folder_digests
from schemas.digest import Json
from schemas.progress import Progress
from schemas.store import Store, exists, join, json_file


@dataclass(frozen=True)
class Report:
    """`problems` has a sentence for each: the file, what is wrong, what mends it."""

    problems: tuple[str, ...]
    num_files: int  # that were read whole
    num_bytes: int
    num_undigested: int  # records and folders without a digest, from before there were any


@dataclass
class Findings:
    store: Store
    progress: Progress
    total_bytes: int = 0  # about; for the progress alone
    problems: list[str] = field(default_factory=list)
    num_files: int = 0
    num_bytes: int = 0
    num_undigested: int = 0

    def report(self) -> Report:
        self.progress("re-read", self.total_bytes, self.total_bytes)
        problems = tuple(dict.fromkeys(self.problems))
        return Report(problems, self.num_files, self.num_bytes, self.num_undigested)

    def problem(self, url: str, what: str, mend: str) -> None:
        """`what` is wrong with a file; `mend` is what the user can do."""
        self.problems.append(f"{self.store.relative(url)}: {' '.join(what.split())}; {mend}")

    def has_problem(self, url: str) -> bool:
        return any(told.startswith(f"{self.store.relative(url)}: ") for told in self.problems)

    def count(self, num_bytes: int) -> None:
        """A file has been read whole."""
        self.num_files += 1
        self.num_bytes += num_bytes
        self.progress("re-read", min(self.num_bytes, self.total_bytes), self.total_bytes)

    def read(self, url: str, mend: str) -> bytes | None:
        """The bytes of a file; None, and a problem, where it cannot be read."""
        try:
            with fsspec.open(url, "rb") as file:
                data = file.read()
        except OSError as error:
            self.unreadable(url, error, mend)
            return None
        self.count(len(data))
        return data

    def digest(self, url: str, mend: str) -> str | None:
        """The sha256 of a file that may not fit into memory; None as `read`."""
        try:
            with fsspec.open(url, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                self.count(file.tell())
        except OSError as error:
            self.unreadable(url, error, mend)
            return None
        return digest

    def unreadable(self, url: str, error: OSError, mend: str) -> None:
        missing = isinstance(error, FileNotFoundError)
        self.problem(url, "is missing" if missing else f"cannot be read ({error})", mend)

    def record(self, url: str, mend: str) -> dict[str, Json] | None:
        """A JSON object as this project writes it, to the byte; None as `read`."""
        data = self.read(url, mend)
        if data is None:
            return None
        try:
            content = json.loads(data)
        except ValueError as error:
            self.problem(url, f"is no JSON ({error})", mend)
            return None
        if not isinstance(content, dict) or json_file(content) != data:
            self.problem(url, "is not written as this project writes JSON", mend)
            return None
        return content

    def folder(self, folder: str, mend: str) -> None:
        """Every file that the folder's digests.json lists."""
        url = join(folder, folder_digests.NAME)
        try:
            digests = folder_digests.load(folder)
        except (ValueError, OSError) as error:
            self.problem(url, f"is damaged ({error})", mend)
            return
        if digests is None:
            self.num_undigested += 1
            return
        self.read(url, mend)
        for name, expected in digests.items():
            found = self.digest(join(folder, name), mend)
            if found not in (None, expected):
                self.problem(join(folder, name), "its sha256 is not that of digests.json", mend)


def files_below(url: str) -> Iterable[tuple[str, int]]:
    """URL and bytes of every file in a folder and its folders, in order; nothing if it is not."""
    if not exists(url):
        return
    fs, path = fsspec.core.url_to_fs(url)
    prefix = len(path.rstrip("/"))
    for file, info in sorted(fs.find(path, detail=True).items()):
        yield url + file[prefix:], int(info["size"] or 0)
