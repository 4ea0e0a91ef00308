"""Cross-source duplicates: the same text in several strata of a build.

Of equal texts the one of the smallest (held out first, place of its source in the recipe, key)
stays; text that is held out anywhere is trained on nowhere.

The groups are found once for a set of strata (Beam, in the buckets of pipelines/copies.py): memory
is that of a bucket and of what occurs twice. A phase picks the keepers among the strata it reads.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import exclusions
from schemas.catalogue import Catalogue, Listed
from schemas.digest import content_id
from schemas.profile import IN_PROCESS
from schemas.shard import digest_of, open_shard
from schemas.store import Store, exists, join, read_bytes, write_bytes
from schemas.stratum import HELDOUT

if TYPE_CHECKING:
    from pipelines.copies import Documents

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
    """Which texts occur twice, in buckets of hashes; then the documents that have one of them."""
    import apache_beam as beam

    from pipelines.copies import Copies, num_buckets, read_keepers
    from pipelines.decide import FOUND, WriteRows, read_written, runner_of

    urls = list(catalogue.urls(store))
    buckets = num_buckets(sum(catalogue.shards.column("documents").to_pylist()))
    with tempfile.TemporaryDirectory(prefix="mmbert-groups-") as folder:
        with beam.Pipeline(*runner_of(IN_PROCESS)) as pipeline:
            _ = (
                pipeline
                | beam.Create(enumerate(urls))
                | beam.Reshuffle()
                | beam.MapTuple(lambda file, url: (_documents(file, url), buckets))
                | Copies(join(folder, "copies"))
                | WriteRows(join(folder, "found"))
            )
        found = read_written(join(folder, "found"), FOUND).column("url").to_pylist()
        twice = pa.concat_arrays(
            [pa.array([], pa.binary(16))]
            + [
                read_keepers(url).column("shared").combine_chunks().cast(pa.binary(16))
                for url in found
            ]
        )
    tables = [GROUPS.empty_table()]
    if len(twice):
        for place, url in zip(catalogue.shards.column("stratum").to_pylist(), urls, strict=True):
            stratum = catalogue.strata[place]
            rank = sources.index(stratum.name.source.split("/")[0])
            tables.append(_rows(url, stratum, rank, twice))
    table = pa.concat_tables(tables)
    return table.sort_by([("shard", "ascending"), ("document", "ascending")])


def _documents(file: int, url: str) -> Documents:
    """What finds the copies of a shard's documents."""
    from pipelines.copies import Documents

    table = open_shard(url).table
    nothing = np.zeros(table.num_rows, np.int64)
    return Documents(
        origin="",
        split_rank=0,
        file=file,
        key=table.column("key").to_numpy(),
        record=np.arange(table.num_rows),
        text=np.frombuffer(b"".join(table.column("text_hash").to_pylist()), "<u8").reshape(-1, 2),
        bands=np.zeros(0, np.uint64),
        num_bands=nothing,
    )


def _rows(url: str, stratum: Listed, source_rank: int, texts: pa.Array) -> pa.Table:
    """The documents of a shard (GROUPS schema) that have one of these texts."""
    shard = open_shard(url)
    mine = pc.is_in(shard.table.column("text_hash"), value_set=texts)
    document = np.flatnonzero(mine.to_numpy())
    found = shard.table.select(["text_hash", "key", "doc_id"]).take(pa.array(document))
    return pa.table(
        {
            "text_hash": [text.hex() for text in found.column("text_hash").to_pylist()],
            "held_out": [stratum.name.tier == HELDOUT] * document.size,
            "source_rank": [source_rank] * document.size,
            "key": found.column("key"),
            "stratum": [stratum.id] * document.size,
            "shard": [digest_of(url)] * document.size,
            "document": document,
            "num_tokens": shard.lengths[document],
            "doc_id": found.column("doc_id").cast(pa.string()),
        },
        GROUPS,
    )


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
