"""Spills: what the map step made of one input file, and the rows that the decide step reads.

`spills/<id>/` holds `part-N.arrow` (kept documents with their tokens, sorted by key),
`dropped.parquet` and, written last, `spill.json`. The id covers the file's content and everything
that decides what is made of it, so a spill is found again instead of made again. Spills are
intermediate: deleting them loses time, never data.
"""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from schemas.ledger import DROPS, Frozen, UnreadableSpan
from schemas.store import exists, join, local_path, read_bytes, write_bytes, write_json

# A document as the map step leaves it. (file, record) breaks ties between equal keys; `group`
# hashes near-duplicates alike, for the held-out split; `score` is its quality; two documents that
# share one of their `bands` are near-duplicates (none where the recipe does not look for them).
META = pa.schema(
    [
        ("key", pa.uint64()),
        ("file", pa.int32()),  # place of the file among the origin's files
        ("record", pa.int64()),
        ("native_id", pa.large_string()),
        ("text_hash", pa.binary(16)),
        ("group", pa.uint64()),
        ("bands", pa.list_(pa.uint64())),
        ("score", pa.float64()),
        ("num_tokens", pa.int64()),
        ("num_bytes", pa.int64()),
        ("repaired", pa.bool_()),
        ("url", pa.large_string()),
    ]
)
PART = pa.schema([*META, ("tokens", pa.large_list(pa.uint32()))])


class Spill(Frozen):
    """`spill.json`."""

    id: str
    read: int  # as the reader counted
    parts: tuple[str, ...]
    dropped: int
    unreadable: tuple[UnreadableSpan, ...] = ()


def write_part(folder: str, index: int, table: pa.Table) -> str:
    """Write kept documents (PART schema) sorted by (key, record); returns the file's name."""
    table = table.sort_by([("key", "ascending"), ("record", "ascending")]).combine_chunks()
    sink = io.BytesIO()
    with ipc.new_file(sink, PART) as writer:
        writer.write_table(table)
    name = f"part-{index:05d}.arrow"
    write_bytes(join(folder, name), sink.getvalue())
    return name


def commit(folder: str, spill: Spill, dropped: pa.Table) -> None:
    """Write the drops (DROPS schema) and, last, spill.json."""
    if dropped.num_rows:
        sink = io.BytesIO()
        pq.write_table(dropped.combine_chunks(), sink, compression="zstd")
        write_bytes(join(folder, "dropped.parquet"), sink.getvalue())
    write_json(join(folder, "spill.json"), spill.model_dump(mode="json"))


def load(folder: str) -> Spill | None:
    url = join(folder, "spill.json")
    return Spill.model_validate_json(read_bytes(url)) if exists(url) else None


def read_part(folder: str, name: str, columns: list[str] | None = None) -> pa.Table:
    """A part, or some of its columns; memory-mapped when it is local."""
    url = join(folder, name)
    path = local_path(url)
    source = pa.memory_map(str(path)) if path else pa.BufferReader(read_bytes(url))
    fields = [PART.get_field_index(c) for c in columns] if columns else None
    options = ipc.IpcReadOptions(included_fields=fields)
    return ipc.open_file(source, options=options).read_all()


def read_dropped(folder: str) -> pa.Table:
    url = join(folder, "dropped.parquet")
    if not exists(url):
        return DROPS.empty_table()
    return pq.read_table(io.BytesIO(read_bytes(url)))
