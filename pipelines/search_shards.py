"""Looking for documents in strata, once for each stratum and list.

What was found is kept in the store under the list and the set of strata:

    exclusions/<kind>-<list>-<strata>.parquet    rows of exclusions.ROWS; its metadata names the
                                                 strata that were looked through

Another set of strata is looked through as far as no earlier one was. These files may be deleted.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import exclusions
from schemas.catalogue import Catalogue
from schemas.digest import canonical, content_id
from schemas.shard import Shard, open_shard
from schemas.store import Store, exists, join, read_bytes, write_bytes

Look = Callable[[Shard], Iterator[tuple[int, str]]]
_SEEN = b"mmbert.strata"


def search(store: Store, catalogue: Catalogue, kind: str, listed: str, look: Look) -> pa.Table:
    """The documents (exclusions.ROWS) of all strata that `look` finds: (place in shard, reason).

    `listed` is the id of what is looked for.
    """
    mine = [stratum.id for stratum in catalogue.strata]
    folder = join(store.url, "exclusions")
    url = join(folder, f"{kind}-{listed}-{content_id(sorted(mine))}.parquet")
    if exists(url):
        return _read(url)[0]
    seen, tables = set[str](), [exclusions.ROWS.empty_table()]
    fs, path = fsspec.core.url_to_fs(folder)
    for earlier in fs.glob(f"{path}/{kind}-{listed}-*.parquet"):
        table, strata = _read(fs.unstrip_protocol(earlier))
        there = pc.is_in(table.column("shard"), catalogue.shards.column("digest").combine_chunks())
        tables.append(table.filter(there))
        seen |= strata
    tables.append(_look(store, catalogue, seen, look))
    rows = pa.concat_tables(tables).group_by(exclusions.ROWS.names).aggregate([])
    sink = io.BytesIO()
    metadata = {_SEEN: canonical(sorted(mine))}
    rows = rows.cast(exclusions.ROWS).replace_schema_metadata(metadata)
    pq.write_table(rows, sink, compression="zstd")
    write_bytes(url, sink.getvalue())
    return rows


def _read(url: str) -> tuple[pa.Table, set[str]]:
    table = pq.ParquetFile(io.BytesIO(read_bytes(url))).read()
    return table.cast(exclusions.ROWS), set(json.loads(table.schema.metadata[_SEEN]))


def _look(store: Store, catalogue: Catalogue, seen: set[str], look: Look) -> pa.Table:
    found: list[dict[str, str | int]] = []
    columns = (catalogue.shards.column(name).to_pylist() for name in ("stratum", "digest"))
    for place, digest, url in zip(*columns, catalogue.urls(store), strict=True):
        if catalogue.strata[place].id in seen:
            continue
        shard = open_shard(url)
        for document, reason in look(shard):
            found.append(
                {
                    "shard": digest,
                    "document": document,
                    "num_tokens": int(shard.lengths[document]),
                    "doc_id": shard.table.column("doc_id")[document].as_py(),
                    "reason": reason,
                    "keeper": "",
                }
            )
    return pa.Table.from_pylist(found, exclusions.ROWS)
