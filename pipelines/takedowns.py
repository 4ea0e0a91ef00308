"""Takedowns: documents that someone has asked to be left out, by id or by URL.

In: files of one id or URL a line (`#` begins a comment). Out: where they stand in strata. Names are
compared as schemas/doc_names.py has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from pipelines.evaluation_texts import find_files
from pipelines.search_shards import search
from schemas.catalogue import Catalogue
from schemas.digest import content_id
from schemas.doc_names import RULE, documents_named
from schemas.errors import UserError
from schemas.shard import Shard
from schemas.store import Store

TAKEDOWN = "takedown"


def takedowns(store: Store, catalogue: Catalogue, places: Sequence[str]) -> pa.Table:
    """The documents (exclusions.ROWS) that the files at `places` list."""
    names = read_names(find_files(places, "exclusions.takedowns"))
    wanted = pa.array(names, pa.large_string())

    def look(shard: Shard) -> Iterator[tuple[int, str]]:
        for document in documents_named(shard.table, wanted):
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
