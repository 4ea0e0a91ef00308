"""What a document is called by: its id, its URL, or the id that its data set gives it.

An id is written `source:id`, or as the data set itself writes it; it means every document that has
it, so `x` also means the repeats `x~2`, `x~3`.

Documents lie in their stratum by a key of `source:id`, the same for all repeats, and each shard has
a range of keys: an id that names its source can lie in one shard of a stratum only.
"""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

RULE = 2  # bumped when names are compared in another way, since what was found is remembered


def documents_named(documents: pa.Table, names: pa.Array) -> list[int]:
    """The places among a shard's documents of those with one of these ids or URLs (large_string).

    documents: the columns doc_id and url of a shard, or all of them. Many have no URL: an empty
    name means none of them.
    """
    names = names.filter(pc.not_equal(names, ""))
    doc_id = documents.column("doc_id")
    first = pc.replace_substring_regex(doc_id, r"~\d+$", "")
    native = pc.replace_substring_regex(first, "^[^:]*:", "")
    columns = (doc_id, documents.column("url"), first, native)
    hits = [pc.is_in(column, value_set=names).to_numpy() for column in columns]
    return np.flatnonzero(np.any(hits, axis=0)).tolist()


def document_key(seed: int, doc_id: str) -> int:
    """The sort key of a document: 64 bits of blake2b(seed, doc_id)."""
    data = f"{seed}\0{doc_id}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def key_range(index: int, num_shards: int) -> tuple[int, int]:
    """The keys [low, high) of a stratum that lie in one of its shards; all are below 2**64."""
    return (index << 64) // num_shards, ((index + 1) << 64) // num_shards


def can_hold(shard_name: str, seed: int, doc_id: str) -> bool:
    """Whether a shard (by the name of its file) can hold a document, `source:id`, or a repeat."""
    place = re.search(r"shard-(\d+)-of-(\d+)-", shard_name)
    if place is None:
        return True
    low, high = key_range(int(place[1]), int(place[2]))
    first = re.sub(r"~\d+$", "", doc_id)
    return any(low <= document_key(seed, name) < high for name in (doc_id, first))
