"""The first rows of a table on disk: a shard's documents, the drops of a stratum, exclusions.

In: the URL of an Arrow IPC or Parquet file. Out: its schema and a few rows, without lists: no
token is read, and of a remote shard only the columns that are shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import fsspec
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

NUM_ROWS = 20
KINDS = (".arrow", ".parquet")


@dataclass(frozen=True)
class Head:
    num_rows: int
    schema: tuple[tuple[str, str], ...]  # name, type
    metadata: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]  # that are shown
    rows: tuple[tuple[str, ...], ...]


def head_of(url: str) -> Head:
    """Raises pa.ArrowInvalid or OSError for what is no such file."""
    with fsspec.open(url, "rb") as file:
        if url.endswith(".parquet"):
            table = pq.ParquetFile(file)
            schema, num_rows = table.schema_arrow, table.metadata.num_rows
            names = [field.name for field in schema if _is_shown(field.type)]
            batches = table.iter_batches(NUM_ROWS, columns=names)
            first = next(batches, None)
        else:
            schema = ipc.open_file(file).schema
            shown = [i for i, field in enumerate(schema) if _is_shown(field.type)]
            file.seek(0)
            reader = ipc.open_file(file, options=ipc.IpcReadOptions(included_fields=shown))
            found = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            num_rows = sum(batch.num_rows for batch in found)
            first = found[0].slice(0, NUM_ROWS) if found else None
            names = [schema[i].name for i in shown]
        rows = first.to_pylist() if first is not None else []
    metadata = schema.metadata or {}
    return Head(
        num_rows,
        tuple((field.name, str(field.type)) for field in schema),
        tuple(
            (k.decode(errors="replace"), v.decode(errors="replace")[:200])
            for k, v in metadata.items()
        ),
        tuple(names),
        tuple(tuple(_told(row[name]) for name in names) for row in rows),
    )


def _is_shown(kind: pa.DataType) -> bool:
    """Texts and figures; lists are tokens, and uint64 and bytes are keys and hashes."""
    hashes = pa.types.is_uint64(kind) or pa.types.is_fixed_size_binary(kind)
    return not pa.types.is_nested(kind) and not hashes


def _told(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)[:300]
