"""Raw files to records, without losing one.

Every record of a file comes out, in order: with its text, or with the reason why it has none.
Bytes in which no record can be found come out as an `UnreadableSpan`. `num_read` is counted apart
from what is yielded: by the Parquet footer, or by the newlines in the decompressed bytes.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from pipelines.inventory import InputFile
from schemas.ledger import UnreadableSpan


@dataclass(slots=True)
class Record:
    """One record. `reason` is set when it is dropped, by the reader or by a filter."""

    number: int  # its place in the file
    text: str | None
    native_id: str | None = None
    url: str = ""
    language_score: float | None = None
    quality_score: float | None = None
    reason: str | None = None
    detail: str = ""
    num_bytes: int = 0
    repaired: bool = False


@dataclass
class FileRead:
    """What a reader tells of a file beside its records; complete when the records are."""

    num_read: int = 0
    unreadable: list[UnreadableSpan] = field(default_factory=list)


Reader = Callable[[InputFile, FileRead], Iterator[Record]]


def read_fineweb2(file: InputFile, told: FileRead) -> Iterator[Record]:
    """FineWeb2's Parquet: text, id, url, language_score, ..."""
    wanted = ["text", "id", "url", "language_score"]
    with fsspec.open(file.url, "rb") as opened:
        try:
            parquet = pq.ParquetFile(opened)
        except (pa.ArrowInvalid, OSError) as error:
            span = UnreadableSpan(
                file=file.relative, offset=0, length=file.size_bytes, reason=f"no Parquet: {error}"
            )
            told.unreadable.append(span)
            return
        told.num_read = parquet.metadata.num_rows
        columns = [name for name in wanted if name in parquet.schema_arrow.names]
        number = 0
        for group in range(parquet.num_row_groups):
            end = number + parquet.metadata.row_group(group).num_rows
            try:
                for batch in parquet.iter_batches(1024, row_groups=[group], columns=columns):
                    for row in batch.to_pylist():
                        yield _from_fineweb2(row, number, "text" in columns)
                        number += 1
            except (pa.ArrowException, OSError) as error:
                detail = str(error).splitlines()[0]
                for lost in range(number, end):
                    yield Record(lost, None, reason="unreadable", detail=detail)
                number = end


def _from_fineweb2(row: dict[str, str | float | None], number: int, has_text: bool) -> Record:
    text = row.get("text")
    record = Record(number, text if isinstance(text, str) else None)
    native, url, score = row.get("id"), row.get("url"), row.get("language_score")
    record.native_id = native if isinstance(native, str) and native else None
    record.url = url if isinstance(url, str) else ""
    record.language_score = score if isinstance(score, float) else None
    if record.text is None:
        record.reason = "no_text" if has_text else "missing_column"
    return record


def read_dclm(file: InputFile, told: FileRead) -> Iterator[Record]:
    """DCLM's JSON lines: text, url or metadata.WARC-Target-URI, metadata.WARC-Record-ID, score."""
    for record, row in _json_lines(file, told):
        if row is not None:
            metadata = row.get("metadata")
            metadata = metadata if isinstance(metadata, dict) else {}
            record.native_id = _text(metadata.get("WARC-Record-ID")) or None
            record.url = _text(row.get("url")) or _text(metadata.get("WARC-Target-URI"))
            score = row.get("fasttext_openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train_prob")
            record.quality_score = float(score) if isinstance(score, int | float) else None
        yield record


def read_dolmino(file: InputFile, told: FileRead) -> Iterator[Record]:
    """Dolmino's JSON lines: id, text, metadata.url."""
    for record, row in _json_lines(file, told):
        if row is not None:
            metadata = row.get("metadata")
            metadata = metadata if isinstance(metadata, dict) else {}
            record.native_id = _text(row.get("id")) or None
            record.url = _text(metadata.get("url"))
        yield record


READERS: dict[str, Reader] = {
    "fineweb2": read_fineweb2,
    "dclm": read_dclm,
    "dolmino": read_dolmino,
}

JsonRow = dict[str, object]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _json_lines(file: InputFile, told: FileRead) -> Iterator[tuple[Record, JsonRow | None]]:
    number = 0
    with fsspec.open(file.url, "rb") as raw:
        counter = _LineCounter(_decompress(raw, file.url), raw)
        lines = io.BufferedReader(counter, 1 << 16)
        while True:
            try:
                line = lines.readline()
            except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
                # A line cut by the break belongs to the span, not to the records.
                counter.open_line = False
                told.unreadable.append(
                    UnreadableSpan(
                        file=file.relative,
                        offset=counter.offset,
                        length=file.size_bytes - counter.offset,
                        reason=str(error),
                    )
                )
                break
            if not line:
                break
            yield _parse(line, number)
            number += 1
        told.num_read = counter.newlines + counter.open_line


def _parse(line: bytes, number: int) -> tuple[Record, JsonRow | None]:
    record = Record(number, None, num_bytes=len(line))
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        record.reason, record.detail = "bad_utf8", f"byte {error.start} of the line"
        return record, None
    except (json.JSONDecodeError, RecursionError) as error:
        record.reason, record.detail = "bad_json", str(error)[:200]
        return record, None
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        record.reason = "no_text"
        return record, row if isinstance(row, dict) else None
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        record.reason, record.detail = "bad_utf8", f"lone surrogate at character {error.start}"
        return record, row
    record.text = text
    return record, row


def _decompress(raw: IO[bytes], url: str) -> io.BufferedIOBase | IO[bytes]:
    if url.endswith(".zst"):
        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    if url.endswith(".gz"):
        return gzip.GzipFile(fileobj=raw)
    return raw


class _LineCounter(io.RawIOBase):
    """Counts the lines that pass through, apart from whoever splits them.

    `offset` is a place in the compressed file up to which everything passed through.
    """

    def __init__(self, source: io.BufferedIOBase | IO[bytes], raw: IO[bytes]) -> None:
        self._source = source
        self._raw = raw
        self.offset = 0
        self.newlines = 0
        self.open_line = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        before = self._raw.tell()
        data = self._source.read(len(buffer))
        self.offset = before
        buffer[: len(data)] = data
        if data:
            self.newlines += data.count(b"\n")
            self.open_line = not data.endswith(b"\n")
        return len(data)
