"""Cross-source duplicates: the same text in several strata of a build.

Strata never change because of another, so such documents stay in their shards and go onto an
exclusion list of the phase. Of equal texts the one of the smallest (held out first, place of its
source in the recipe, key) stays; text that is held out anywhere is trained on nowhere.

The groups are found once for a set of strata (Beam, over document metadata); a phase then picks the
keepers among the strata it reads, in memory.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import exclusions
from schemas.digest import Json, content_id
from schemas.rows import RowCount, count_rows
from schemas.shard import digest_of, open_shard
from schemas.store import Store, exists, join, read_bytes, write_bytes
from schemas.stratum import HELDOUT, Stratum, stratum_folder

GROUPS = pa.schema(
    [
        ("text_hash", pa.string()),
        ("held_out", pa.bool_()),
        ("source_rank", pa.int64()),
        ("key", pa.uint64()),
        ("stratum", pa.string()),  # id
        ("shard", pa.string()),  # digest
        ("document", pa.int64()),
        ("num_tokens", pa.int64()),
        ("doc_id", pa.string()),
    ]
)


@dataclass(frozen=True)
class ShardRef:
    """A shard to look for duplicates in."""

    url: str
    stratum: str
    held_out: bool
    source_rank: int


def read_documents(ref: ShardRef) -> Iterator[tuple[str, list[Json]]]:
    """(text hash, a row of GROUPS) for each document of a shard."""
    shard = open_shard(ref.url)
    names = ("text_hash", "key", "doc_id")
    columns = (shard.table.column(name).to_pylist() for name in names)
    lengths = shard.lengths.tolist()
    rows = zip(*columns, lengths, strict=True)
    digest = digest_of(ref.url)
    for document, (text_hash, key, doc_id, length) in enumerate(rows):
        text = text_hash.hex()
        place = [ref.stratum, digest, document, length, doc_id]
        yield text, [text, ref.held_out, ref.source_rank, key, *place]


def find_groups(store: Store, strata: Sequence[Stratum], sources: Sequence[str]) -> pa.Table:
    """All documents whose text stands in more than one place (GROUPS schema).

    `sources` gives the precedence. The result is kept in the store under the strata's ids.
    """
    identity = content_id([sorted(s.id for s in strata), list(sources)])
    url = join(store.url, "exclusions", f"groups-{identity}.parquet")
    if not exists(url):
        sink = io.BytesIO()
        pq.write_table(_find(store, strata, sources), sink, compression="zstd")
        write_bytes(url, sink.getvalue())
    return pq.read_table(io.BytesIO(read_bytes(url)))


def _find(store: Store, strata: Sequence[Stratum], sources: Sequence[str]) -> pa.Table:
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipelines.decide import WriteRows, read_written

    refs = [
        ShardRef(
            join(stratum_folder(store, stratum.name, stratum.id), entry.name),
            stratum.id,
            stratum.name.tier == HELDOUT,
            sources.index(stratum.name.source.split("/")[0]),
        )
        for stratum in strata
        for entry in stratum.shards
    ]
    with tempfile.TemporaryDirectory(prefix="mmbert-groups-") as folder:
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            _ = (
                pipeline
                | beam.Create(refs)
                | beam.Reshuffle()
                | beam.FlatMap(read_documents)
                | beam.GroupByKey()
                | beam.Map(lambda group: list(group[1]))
                | beam.Filter(lambda rows: len(rows) > 1)
                | beam.FlatMap(lambda rows: rows)
                | WriteRows(folder)
            )
        table = read_written(folder, GROUPS)
    return table.sort_by([("shard", "ascending"), ("document", "ascending")])


def rows_excluded(excluded: pa.Table, context: int) -> dict[str, RowCount]:
    """What an exclusion list (exclusions.ROWS) takes off each shard, by digest, at a context."""
    lengths: dict[str, list[int]] = {}
    columns = (excluded.column(name).to_pylist() for name in ("shard", "num_tokens"))
    for digest, length in zip(*columns, strict=True):
        lengths.setdefault(digest, []).append(length)
    return {digest: count_rows(np.array(found), context) for digest, found in lengths.items()}


def exclude(groups: pa.Table, read: set[str]) -> pa.Table:
    """The exclusion list (exclusions.ROWS) of a phase that reads the strata `read` (ids).

    Held-out documents of every stratum count, whatever the phase reads.
    """
    members: dict[str, list[dict[str, Json]]] = {}
    for row in groups.to_pylist():
        if row["held_out"] or row["stratum"] in read:
            members.setdefault(row["text_hash"], []).append(row)
    excluded = []
    for rows in members.values():
        rank = [(not r["held_out"], r["source_rank"], r["key"], r["doc_id"]) for r in rows]
        keeper = rows[rank.index(min(rank))]
        excluded += [
            {
                "shard": row["shard"],
                "document": row["document"],
                "num_tokens": row["num_tokens"],
                "doc_id": row["doc_id"],
                "reason": "in_heldout" if keeper["held_out"] else "cross_source_duplicate",
                "keeper": keeper["doc_id"],
            }
            for row in rows
            if row is not keeper and not row["held_out"]
        ]
    return pa.Table.from_pylist(excluded, exclusions.ROWS)
