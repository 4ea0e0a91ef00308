"""`mmbert sample DIR --from-hub`: the first documents of the real data sets, in their own layouts.

In: how many languages, how many megabytes of text. Out: the folder that `mmbert sample` writes, of
real text, and SOURCES with the commit and the licence of what was taken. Little is fetched: of a
FineWeb2 language the first rows of its first files, of DCLM's first file and of the first file of
each Dolmino subset the first bytes, up to a whole line. The parts are those of the made sample.
"""

from __future__ import annotations

import gzip
import posixpath
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from pipelines.decompress import Break, decompress
from pipelines.inventory import InputFile
from pipelines.open_input import open_input
from pipelines.remote import info_of, pinned, version_of
from pipelines.sample import plan
from pipelines.source_files import TEXT
from schemas.errors import UserError
from schemas.remote import file_system, retried

FINEWEB2 = "hf://datasets/HuggingFaceFW/fineweb-2"
DCLM = "hf://datasets/mlfoundations/dclm-baseline-1.0"
DOLMINO = "hf://datasets/allenai/dolmino-mix-1124"
PLACES = (FINEWEB2, DCLM, DOLMINO)
LICENCES = {FINEWEB2: "ODC-By 1.0", DCLM: "CC-BY 4.0", DOLMINO: "ODC-By 1.0"}
_TEST_PART = 0.1
_MAX_LINE_BYTES = 64 << 20  # a first line longer than this is taken for none


@dataclass(frozen=True)
class HubSample:
    """What was taken: languages, documents, bytes of their files' text, addresses."""

    languages: int
    documents: int
    bytes: int


def write_hub_sample(
    directory: Path, languages: int, megabytes: float, progress: Callable[[str], None]
) -> HubSample:
    """Fetch about `megabytes` million bytes of text into `directory`, which appears whole.

    Raises UserError for impossible numbers, for a directory that holds anything, and where the hub
    does not answer.
    """
    if not 0 < megabytes < float("inf"):
        raise UserError(
            f"a sample cannot have {megabytes} megabytes: give --megabytes a number above 0"
        )
    rows = plan.chosen_languages(languages)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} is not empty: name another directory or remove this one")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as scratch:
        slice_ = _Slice(Path(scratch) / "sample", progress)
        subsets = [row.subset for row in rows if row.subset != plan.ENGLISH]
        slice_.fineweb2(subsets, megabytes * 1e6 * plan.FINEWEB2_PART)
        slice_.dclm(megabytes * 1e6 * plan.DCLM_PART)
        slice_.dolmino(megabytes * 1e6 * plan.DOLMINO_PART)
        slice_.name_sources()
        if directory.exists():
            directory.rmdir()
        slice_.root.rename(directory)
    return HubSample(len(slice_.languages) + 1, slice_.documents, slice_.bytes)


class _Slice:
    """A slice in the making."""

    def __init__(self, root: Path, progress: Callable[[str], None]) -> None:
        self.root = root
        self.progress = progress
        self.commits: dict[str, str] = {}
        self.taken: list[tuple[str, str]] = []  # place, path in it
        self.absent: list[str] = []
        self.languages: list[str] = []
        self.documents = self.bytes = 0

    def fineweb2(self, subsets: list[str], num_bytes: float) -> None:
        place = self._pin(FINEWEB2)
        for subset in subsets:
            for split, part in (("train", 1 - _TEST_PART), ("test", _TEST_PART)):
                file = _first(f"{place}/data/{subset}/{split}", place)
                if file is None:
                    if split == "train":
                        self.absent.append(subset)
                        break
                    continue
                self.progress(f"fineweb2 {subset}")
                table = _first_rows(file, num_bytes * part / len(subsets))
                target = self.root / "fineweb2" / file.relative
                target.parent.mkdir(parents=True)
                pq.write_table(table, target, compression="zstd")
                text = table.column("text")
                self._count(FINEWEB2, file, table.num_rows, text.nbytes)
                if split == "train":
                    self.languages.append(subset)

    def dclm(self, num_bytes: float) -> None:
        place = self._pin(DCLM)
        self._lines(DCLM, _require(_first(place, place), place), "dclm", num_bytes)

    def dolmino(self, num_bytes: float) -> None:
        place = self._pin(DOLMINO)
        folders = [path for path, kind in _listed(f"{place}/data") if kind == "directory"]
        for folder in folders:
            file = _require(_first(folder, place), folder)
            self._lines(DOLMINO, file, "dolmino", num_bytes / len(folders))

    def name_sources(self) -> None:
        """Write SOURCES: where each file comes from, and under which licence."""
        lines = [
            "Real text, the first documents of each file, as published by these data sets.",
            "",
        ]
        for place, commit in self.commits.items():
            lines.append(f"{place.removeprefix('hf://')}@{commit}, {LICENCES[place]}")
            lines += [f"    {path}" for found, path in self.taken if found == place]
        if self.absent:
            lines += ["", f"Without text there: {', '.join(self.absent)}"]
        (self.root / "SOURCES").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _pin(self, place: str) -> str:
        try:
            url, self.commits[place] = pinned(place)
        except FileNotFoundError as error:
            raise UserError(f"{place} is not on the hub; its sample cannot be taken") from error
        return url

    def _lines(self, place: str, file: InputFile, folder: str, num_bytes: float) -> None:
        self.progress(f"{folder} {file.relative}")
        lines = list(_first_lines(file, int(num_bytes)))
        target = self.root / folder / file.relative
        target.parent.mkdir(parents=True)
        target.write_bytes(_compressed(b"".join(lines), target.suffix))
        self._count(place, file, len(lines), sum(map(len, lines)))

    def _count(self, place: str, file: InputFile, documents: int, num_bytes: int) -> None:
        self.taken.append((place, file.relative))
        self.documents += documents
        self.bytes += num_bytes


def _first(folder: str, root: str) -> InputFile | None:
    """The first file of text below a folder, in order of names; None where there is none."""
    for url, kind in _listed(folder):
        if kind == "directory":
            found = _first(url, root)
            if found is not None:
                return found
        elif TEXT.search(url):
            info = info_of(url)
            size = int(str(info["size"]))
            return InputFile(url, posixpath.relpath(url, root), size, version=version_of(info))
    return None


def _listed(folder: str) -> list[tuple[str, str]]:
    """(address, "file" or "directory") of what lies in a folder; nothing where there is none."""
    fs, path = file_system(folder)
    try:
        infos = retried(lambda: fs.ls(path, detail=True), folder)
    except FileNotFoundError:
        return []
    return sorted((fs.unstrip_protocol(info["name"]), info["type"]) for info in infos)


def _require(file: InputFile | None, place: str) -> InputFile:
    if file is None:
        raise UserError(f"{place} holds no file of text; its layout has changed")
    return file


def _first_rows(file: InputFile, num_bytes: float) -> pa.Table:
    """Rows of the first row group until their text has so many bytes; one at least."""
    with open_input(file) as opened:
        parquet = pq.ParquetFile(opened)
        batches, left = [], num_bytes
        for row in parquet.iter_batches(1, row_groups=[0]):
            batches.append(row)
            left -= row.column("text").nbytes
            if left <= 0:
                break
        return pa.Table.from_batches(batches, parquet.schema_arrow)


def _first_lines(file: InputFile, num_bytes: int) -> Iterator[bytes]:
    """Whole lines from the beginning until there are so many bytes; one at least."""
    line, taken = b"", 0
    with open_input(file) as opened:
        for piece in decompress(opened, file.relative):
            if isinstance(piece, Break) or len(line) > _MAX_LINE_BYTES:
                return
            *whole, line = (line + piece.data).split(b"\n")
            for found in whole:
                yield found + b"\n"
                taken += len(found) + 1
                if taken >= num_bytes:
                    return
    if line:
        yield line + b"\n"


def _compressed(data: bytes, suffix: str) -> bytes:
    if suffix == ".zst":
        return zstandard.ZstdCompressor().compress(data)
    return gzip.compress(data, mtime=0) if suffix == ".gz" else data
