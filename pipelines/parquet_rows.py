"""Parquet: every row that the footer counts comes out, with its values or as unreadable."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.inventory import InputFile
from pipelines.open_input import open_input
from pipelines.record import FileRead, Record
from pipelines.text_parts import join_parts
from schemas.ledger import UnreadableSpan

_BATCH_ROWS, _BATCH_BYTES = 1024, 16 << 20  # a batch is one or the other, on an average
_BUFFER_BYTES = 1 << 20  # else pyarrow reads a column of a row group at once
_STRINGS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
)
# Strings as bytes: Parquet promises UTF-8, unchecked. Turns of a talk are lists.
ParquetRow = dict[str, bytes | float | list[object] | None]


def read_parquet(
    file: InputFile, told: FileRead, columns: Mapping[str, str], texts: Sequence[str] = ("text",)
) -> Iterator[tuple[Record, ParquetRow]]:
    """Each row's record, its text joined of the columns `texts`, and the row: a value for each of
    `columns` (name -> path).

    A dotted path that is no column's own name leads into a struct. A column that is missing is None
    in every row; of the text that is a reason of its own.
    """
    if not file.size_bytes:
        told.name_empty(file)
        return
    with open_input(file) as opened:
        try:
            parquet = pq.ParquetFile(opened, buffer_size=_BUFFER_BYTES)
            sizes = [parquet.metadata.row_group(g).num_rows for g in range(parquet.num_row_groups)]
            if min(sizes, default=0) < 0 or sum(sizes) > file.size_bytes:
                raise OSError(f"its footer counts {sum(sizes):,} rows in {file.size_bytes:,} bytes")
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())[:200]
            span = UnreadableSpan(
                file=file.relative, offset=0, length=file.size_bytes, reason=f"no Parquet: {reason}"
            )
            told.unreadable.append(span)
            return
        told.num_read = sum(sizes)
        paths = dict(columns) | {f"text {place}": name for place, name in enumerate(texts)}
        places = {name: _place(parquet.schema_arrow, path) for name, path in paths.items()}
        found = {name: place for name, place in places.items() if place}
        number = 0
        for group, size in enumerate(sizes):
            end = number + size
            detail = "fewer rows than its footer counts"
            try:
                for row in islice(_rows(parquet, group, found), size):
                    yield _record(row, number, texts, found.keys()), row
                    number += 1
            except (pa.ArrowException, OSError) as error:
                detail = str(error).partition("\n")[0]
            for lost in range(number, end):
                yield Record(lost, None, reason="unreadable", detail=detail), {}
            number = end
    told.name_empty(file)


def _rows(
    parquet: pq.ParquetFile, group: int, found: Mapping[str, list[str]]
) -> Iterator[ParquetRow]:
    """The rows of a row group; ArrowException or OSError at a page that cannot be read."""
    wanted = list(dict.fromkeys(".".join(place) for place in found.values()))
    metadata = parquet.metadata.row_group(group)
    size = _BATCH_BYTES * metadata.num_rows // max(metadata.total_byte_size, 1)
    rows_each = min(max(size, 1), _BATCH_ROWS)
    for batch in parquet.iter_batches(rows_each, row_groups=[group], columns=wanted):
        values = {name: _plain(_column(batch, p)) for name, p in found.items()}
        rows = pa.RecordBatch.from_pydict(values).to_pylist() if values else None
        yield from rows or [{}] * batch.num_rows


def _place(schema: pa.Schema, dotted: str) -> list[str]:
    """The names that lead to a column, or nothing where there is none, or two of that name."""
    if dotted in schema.names:
        return [dotted] if schema.names.count(dotted) == 1 else []
    place = dotted.split(".")
    fields = schema
    for name in place:
        if not isinstance(fields, pa.Schema | pa.StructType) or fields.names.count(name) != 1:
            return []
        fields = fields.field(name).type
    return place


def _column(batch: pa.RecordBatch, place: list[str]) -> pa.Array:
    column = batch.column(place[0])
    return pc.struct_field(column, place[1:]) if place[1:] else column


def _plain(column: pa.Array) -> pa.Array:
    """Strings as bytes and numbers as they are; nulls of any other type."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if any(is_kind(kind) for is_kind in _STRINGS):
        return column.cast(pa.large_binary())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        return column
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        turn = kind.value_type
        if pa.types.is_struct(turn) and "content" in turn.names:
            return column.cast(pa.large_list(pa.struct({"content": pa.large_binary()})))
        if any(is_kind(turn) for is_kind in _STRINGS):
            return column.cast(pa.large_list(pa.large_binary()))
    return pa.nulls(len(column))


def _record(row: ParquetRow, number: int, texts: Sequence[str], found: Container[str]) -> Record:
    for place, name in enumerate(texts):
        if f"text {place}" not in found:
            return Record(
                number, None, reason="missing_column", detail=f"no single column {name!r}"
            )
    read = join_parts([row.get(f"text {place}") for place in range(len(texts))])
    return Record(
        number, read.text, reason=read.reason, detail=read.detail, num_bytes=read.num_bytes
    )


def lenient(value: object) -> str:
    """A string of which bad bytes are replaced; "" for anything else."""
    return value.decode(errors="replace") if isinstance(value, bytes) else ""
