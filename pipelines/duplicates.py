"""Cross-source duplicates: the same text in several strata of a build.

Of equal texts the one of the smallest (held out first, place of its source in the recipe, key)
stays; text that is held out anywhere is trained on nowhere.

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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import exclusions
from schemas.catalogue import Catalogue
from schemas.digest import Json, content_id
from schemas.shard import digest_of, open_shard
from schemas.store import Store, exists, join, read_bytes, write_bytes
from schemas.stratum import HELDOUT

IN_HELDOUT = "in_heldout"
CROSS_SOURCE = "cross_source_duplicate"
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


def find_groups(store: Store, catalogue: Catalogue, sources: Sequence[str]) -> pa.Table:
    """All documents whose text stands in more than one place (GROUPS schema).

    `sources` gives the precedence. The result is kept in the store under the strata's ids.
    """
    identity = content_id([sorted(s.id for s in catalogue.strata), list(sources)])
    url = join(store.url, "exclusions", f"groups-{identity}.parquet")
    if not exists(url):
        sink = io.BytesIO()
        pq.write_table(_find(store, catalogue, sources), sink, compression="zstd")
        write_bytes(url, sink.getvalue())
    return pq.ParquetFile(io.BytesIO(read_bytes(url))).read()  # read_table imports pandas: 2 s


def _find(store: Store, catalogue: Catalogue, sources: Sequence[str]) -> pa.Table:
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipelines.decide import WriteRows, read_written

    refs = []
    for place, url in zip(
        catalogue.shards.column("stratum").to_pylist(), catalogue.urls(store), strict=True
    ):
        stratum = catalogue.strata[place]
        rank = sources.index(stratum.name.source.split("/")[0])
        refs.append(ShardRef(url, stratum.id, stratum.name.tier == HELDOUT, rank))
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


def duplicates(groups: pa.Table, read: set[str]) -> pa.Table:
    """The exclusion list (exclusions.ROWS) of a phase that reads the strata `read` (ids).

    Held-out documents of every stratum count, whatever the phase reads.
    """
    mine = pc.is_in(groups.column("stratum"), pa.array(sorted(read), pa.string()))
    found = groups.filter(pc.or_(groups.column("held_out"), mine))
    if not found.num_rows:
        return exclusions.ROWS.empty_table()
    found = found.append_column("trained", pc.invert(found.column("held_out")))
    order = ("text_hash", "trained", "source_rank", "key", "doc_id")  # the keeper of a text first
    found = found.sort_by([(name, "ascending") for name in order]).combine_chunks()
    text = found.column("text_hash").dictionary_encode().combine_chunks().indices.to_numpy()
    first = np.concatenate([[0], np.flatnonzero(np.diff(text)) + 1])
    keeper = found.take(np.repeat(first, np.diff([*first, text.size])))
    reason = pc.if_else(keeper.column("held_out"), IN_HELDOUT, CROSS_SOURCE)
    gone = np.ones(text.size, bool)
    gone[first] = False
    listed = pa.table(
        {
            **{n: found.column(n) for n in ("shard", "document", "num_tokens", "doc_id")},
            "reason": reason,
            "keeper": keeper.column("doc_id"),
        },
        exclusions.ROWS,
    )
    return listed.filter(pc.and_(pa.array(gone), found.column("trained")))
