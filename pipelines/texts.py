"""Text from any files, for commands that look at text and build nothing.

In: files, or folders of them: Parquet and JSON lines with a `text` column or key, compressed or
not, and .txt with a text a line. Out: texts with their place, and with their language where a
folder or a file's name says it as FineWeb2 does (`fao_Latn/train/000.parquet`, `fao_Latn.txt`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.inventory import InputFile
from pipelines.read import read_documents
from pipelines.record import FileRead
from schemas.errors import UserError
from schemas.language import is_subset
from schemas.text import Fields

ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".txt")
UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class Text:
    language: str  # lang_Script, or UNLABELLED
    place: str  # file and number, counted from 1
    text: str


def texts_of(paths: Sequence[str | Path]) -> Iterator[Text]:
    """Every text, file by file in the order of their names.

    Raises UserError for a path that does not exist or holds no such file.
    """
    for path in map(Path, paths):
        for file in _files(path):
            for number, text in _read(file):
                yield Text(_language(file), f"{file}, text {number}", text)


def _files(path: Path) -> list[Path]:
    found = [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []
    found = [file for file in found if file.name.endswith(ENDINGS)]
    if not found:
        raise UserError(
            f"{path}: there is no text; give files, or a folder of files, that end in "
            f"{', '.join(ENDINGS)}"
        )
    return found


def _language(file: Path) -> str:
    named = (file.name.split(".")[0], *reversed(file.parts[:-1]))
    return next((part for part in named if is_subset(part)), UNLABELLED)


def _read(file: Path) -> Iterator[tuple[int, str]]:
    if file.suffix == ".txt":
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line.rstrip("\n")
        return
    source = InputFile(str(file.absolute()), file.name, file.stat().st_size)
    for record in read_documents(source, FileRead(), Fields()):
        if record.text:
            yield record.number + 1, record.text
