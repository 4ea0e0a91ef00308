"""Exclusion lists: documents that are in a stratum and must not be delivered.

One mechanism for cross-source duplicates, contamination and takedowns. A list is a Parquet table
whose id is the digest of its rows; strata never change because of one. Manifests name the lists
that apply, each with the first window from which it does.
"""

from __future__ import annotations

import io
from collections import Counter

import pyarrow as pa
from pydantic import Field

from schemas.digest import ID_LENGTH, sha256
from schemas.ledger import Frozen
from schemas.store import Store, exists, join, read_bytes, write_bytes

ROWS = pa.schema(
    [
        ("shard", pa.string()),  # digest of the shard
        ("document", pa.int64()),  # its place in the shard
        ("num_tokens", pa.int64()),
        ("doc_id", pa.string()),
        ("reason", pa.string()),
        ("keeper", pa.string()),  # the document that stays, when there is one
    ]
)


class ExclusionRef(Frozen):
    """How a manifest names a list."""

    id: str
    documents: int
    from_window: int = 0
    reasons: dict[str, int] = Field({}, description="documents of each")


def ref_of(table: pa.Table) -> ExclusionRef:
    """How a manifest names a list (ROWS schema); equal rows in any order give the same id."""
    return ExclusionRef(
        id=sha256(_encode(table))[:ID_LENGTH],
        documents=table.num_rows,
        reasons=dict(sorted(Counter(table.column("reason").to_pylist()).items())),
    )


def save(store: Store, table: pa.Table) -> ExclusionRef:
    """Write a list (ROWS schema) under its id."""
    ref = ref_of(table)
    url = join(store.url, "exclusions", f"{ref.id}.parquet")
    if not exists(url):
        write_bytes(url, _encode(table))
    return ref


def _encode(table: pa.Table) -> bytes:
    from pyarrow import parquet

    table = table.cast(ROWS).sort_by([("shard", "ascending"), ("document", "ascending")])
    sink = io.BytesIO()
    parquet.write_table(table.combine_chunks(), sink, compression="zstd")
    return sink.getvalue()


def load(store: Store, ref: ExclusionRef) -> pa.Table:
    from pyarrow import parquet  # a tenth of what the loader imports, where nothing is excluded

    data = read_bytes(join(store.url, "exclusions", f"{ref.id}.parquet"))
    return parquet.read_table(io.BytesIO(data))
