"""Raw files to records, without losing one.

Every record of a file comes out, in order: with its text, or with the reason why it has none.
Bytes in which no record can be found come out as an `UnreadableSpan`. `num_read` is counted apart
from what is yielded: by the Parquet footer, or by the newlines in the decompressed bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.decompress import Break, decompress
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
    if not file.size_bytes:
        _name_empty(file, told)
        return
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
                    for row in _as_bytes(batch).to_pylist():
                        yield _from_fineweb2(row, number, "text" in columns)
                        number += 1
            except (pa.ArrowException, OSError) as error:
                detail = str(error).partition("\n")[0]
                for lost in range(number, end):
                    yield Record(lost, None, reason="unreadable", detail=detail)
                number = end
    _name_empty(file, told)


def _as_bytes(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Strings as bytes: Parquet promises UTF-8 and checks nothing."""
    columns = [
        column.cast(pa.large_binary())
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _from_fineweb2(row: dict[str, bytes | float | None], number: int, has_text: bool) -> Record:
    record = Record(number, None)
    text, score = row.get("text"), row.get("language_score")
    if isinstance(text, bytes):
        record.num_bytes = len(text)
        try:
            record.text = text.decode()
        except UnicodeDecodeError as error:
            record.reason, record.detail = "bad_utf8", f"byte {error.start} of the text"
    else:
        record.reason = "no_text" if has_text else "missing_column"
    native, url = row.get("id"), row.get("url")
    record.native_id = (
        native.decode(errors="replace") or None if isinstance(native, bytes) else None
    )
    record.url = url.decode(errors="replace") if isinstance(url, bytes) else ""
    record.language_score = score if isinstance(score, float) else None
    return record


def read_dclm(file: InputFile, told: FileRead) -> Iterator[Record]:
    """DCLM's JSON lines: text, url or metadata.WARC-Target-URI, metadata.WARC-Record-ID, score."""
    for record, row in _json_lines(file, told):
        metadata = _metadata(row)
        record.native_id = _text(metadata.get("WARC-Record-ID")) or None
        record.url = _text(row.get("url")) or _text(metadata.get("WARC-Target-URI"))
        score = row.get("fasttext_openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train_prob")
        record.quality_score = _number(score)
        yield record


def read_dolmino(file: InputFile, told: FileRead) -> Iterator[Record]:
    """Dolmino's JSON lines: id, text, metadata.url."""
    for record, row in _json_lines(file, told):
        record.native_id = _text(row.get("id")) or None
        record.url = _text(_metadata(row).get("url"))
        yield record


READERS: dict[str, Reader] = {
    "fineweb2": read_fineweb2,
    "dclm": read_dclm,
    "dolmino": read_dolmino,
}

JsonRow = dict[str, object]


def _metadata(row: JsonRow) -> JsonRow:
    metadata = row.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _text(value: object) -> str:
    """A string that UTF-8 can hold; "" for anything else."""
    return value if isinstance(value, str) and _lone_surrogate(value) is None else ""


def _number(value: object) -> float | None:
    """A finite float; JSON can also spell NaN and integers that no float holds."""
    if isinstance(value, int | float) and abs(value) <= sys.float_info.max:
        return float(value)
    return None


def _lone_surrogate(text: str) -> int | None:
    """Where a text has half of a surrogate pair: JSON can spell it, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def _json_lines(file: InputFile, told: FileRead) -> Iterator[tuple[Record, JsonRow]]:
    for number, line in enumerate(_lines(file, told)):
        yield _parse(line, number)
    _name_empty(file, told)


def _lines(file: InputFile, told: FileRead) -> Iterator[bytes]:
    """Every line without its newline. A line that a break cuts belongs to the unreadable span."""
    line: list[bytes] = []  # what came so far of the line that has not ended
    began = 0  # where the piece lies that holds its first byte
    with fsspec.open(file.url, "rb") as raw:
        for piece in decompress(raw, file.url):
            if isinstance(piece, Break):
                # A break behind a whole member cuts nothing: the last line may lack its newline.
                if line and not piece.inside:
                    told.num_read += 1
                    yield b"".join(line)
                    line = []
                told.unreadable.append(_span(file, piece, began if line else piece.offset))
                line = []
                continue
            told.num_read += piece.data.count(b"\n")
            first, *others = piece.data.split(b"\n")
            if not line:
                began = piece.offset
            line.append(first)
            for other in others:
                yield b"".join(line)
                line, began = [other], piece.offset
            if line == [b""]:
                line = []
    if line:
        told.num_read += 1
        yield b"".join(line)


def _span(file: InputFile, broken: Break, offset: int) -> UnreadableSpan:
    length = broken.end - offset
    return UnreadableSpan(file=file.relative, offset=offset, length=length, reason=broken.reason)


def _parse(line: bytes, number: int) -> tuple[Record, JsonRow]:
    record = Record(number, None, num_bytes=len(line))
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        record.reason, record.detail = "bad_utf8", f"byte {error.start} of the line"
        return record, {}
    except (ValueError, RecursionError) as error:  # a plain ValueError for an endless integer
        record.reason, record.detail = "bad_json", str(error)[:200]
        return record, {}
    row = row if isinstance(row, dict) else {}
    text = row.get("text")
    if not isinstance(text, str):
        record.reason = "no_text"
    elif (place := _lone_surrogate(text)) is not None:
        record.reason, record.detail = "bad_utf8", f"lone surrogate at character {place}"
    else:
        record.text = text
    return record, row


def _name_empty(file: InputFile, told: FileRead) -> None:
    if not told.num_read and not told.unreadable:
        told.unreadable.append(
            UnreadableSpan(
                file=file.relative, offset=0, length=file.size_bytes, reason="empty file"
            )
        )
