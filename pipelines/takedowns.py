"""Takedowns: documents that someone has asked to be left out, by id or by URL.

In: files of one id or URL a line (`#` begins a comment). Out: where they stand in strata. An id is
written `source:id`, or as the data set itself writes it; it means every document that has it, so
`x` also takes `x~2`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.evaluation_texts import find_files
from pipelines.search_shards import search
from schemas.catalogue import Catalogue
from schemas.digest import content_id
from schemas.errors import UserError
from schemas.shard import Shard
from schemas.store import Store

TAKEDOWN = "takedown"
RULE = 2  # how names are compared; bumped when it changes, since what was found is remembered


def takedowns(store: Store, catalogue: Catalogue, places: Sequence[str]) -> pa.Table:
    """The documents (exclusions.ROWS) that the files at `places` list."""
    names = read_names(find_files(places, "exclusions.takedowns"))
    wanted = pa.array(names, pa.large_string())

    def look(shard: Shard) -> Iterator[tuple[int, str]]:
        for document in documents_named(shard, wanted):
            yield document, TAKEDOWN

    return search(store, catalogue, TAKEDOWN, content_id([RULE, names]), look)


def read_names(files: dict[str, bytes]) -> list[str]:
    """Doc ids and URLs, one a line, each once and in order; UserError for a file of other bytes."""
    names: set[str] = set()
    for url, data in files.items():
        try:
            lines = (line.strip() for line in data.decode("utf-8-sig").splitlines())
        except UnicodeDecodeError as error:
            raise UserError(f"{url} is no list in UTF-8 ({error}); one id or URL a line") from None
        names |= {line for line in lines if line and not line.startswith("#")}
    return sorted(names)


def documents_named(shard: Shard, names: pa.Array) -> list[int]:
    """The places in a shard of the documents with one of these ids or URLs (large_string)."""
    doc_id = shard.table.column("doc_id")
    first = pc.replace_substring_regex(doc_id, r"~\d+$", "")
    native = pc.replace_substring_regex(first, "^[^:]*:", "")
    columns = (doc_id, shard.table.column("url"), first, native)
    hits = [pc.is_in(column, value_set=names).to_numpy() for column in columns]
    return np.flatnonzero(np.any(hits, axis=0)).tolist()
