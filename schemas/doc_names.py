"""What a document is called by: its id, its URL, or the id that its data set gives it.

An id is written `source:id`, or as the data set itself writes it; it means every document that has
it, so `x` also means the repeats `x~2`, `x~3`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

RULE = 2  # bumped when names are compared in another way, since what was found is remembered


def documents_named(documents: pa.Table, names: pa.Array) -> list[int]:
    """The places among a shard's documents of those with one of these ids or URLs (large_string).

    documents: the columns doc_id and url of a shard, or all of them.
    """
    doc_id = documents.column("doc_id")
    first = pc.replace_substring_regex(doc_id, r"~\d+$", "")
    native = pc.replace_substring_regex(first, "^[^:]*:", "")
    columns = (doc_id, documents.column("url"), first, native)
    hits = [pc.is_in(column, value_set=names).to_numpy() for column in columns]
    return np.flatnonzero(np.any(hits, axis=0)).tolist()
