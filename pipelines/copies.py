"""Copies: which documents of an origin share a text, or a band of it, and which of them stays.

In: parts of spills. Out: tables of `KEEPERS`, one row for each text or band that occurs twice.

    part --scatter--> files of BUCKETS, a record batch for each range of hashes
    the batches of one range, of all parts --gather--> its groups

A bucket holds about half a million documents, so no step sees more of an origin at once on any
runner: what travels through it are names of files. A band that only copies of one text share is
left out, as their text tells already that they are copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from schemas.digest import sha256
from schemas.errors import UserError
from schemas.store import join, local_path

BUCKET_DOCUMENTS = 500_000
TEXT, BAND = 16, 8  # bytes of what is shared: neither is taken for the other

# `first` and `second` are the hash of the text; of a band they are the band and half that hash.
BUCKETS = pa.schema(
    [
        ("first", pa.uint64()),
        ("second", pa.uint64()),
        ("key", pa.uint64()),
        ("record", pa.int64()),
    ]
)
KEEPERS = pa.schema(
    [
        ("shared", pa.binary()),
        ("split_rank", pa.int8()),
        ("key", pa.uint64()),
        ("file", pa.int32()),
        ("record", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Documents:
    """Metadata of the documents of one part of a spill, as arrays of its length n."""

    origin: str
    split_rank: int
    file: int
    key: np.ndarray
    record: np.ndarray
    text: np.ndarray  # [n, 2], uint64
    bands: np.ndarray  # [all bands], uint64
    num_bands: np.ndarray  # [n]


@dataclass(frozen=True)
class Batch:
    """The rows of one part in one bucket: a record batch of a file."""

    url: str
    index: int
    split_rank: int
    file: int


Bucket = tuple[str, int, int]  # origin, bytes of what is shared, range of hashes


def num_buckets(documents: int) -> int:
    """A power of two, so that the first bits of a hash name its bucket."""
    return 1 << max(0, -(-documents // BUCKET_DOCUMENTS) - 1).bit_length()


class Copies(beam.PTransform):
    """(Documents, number of buckets of its origin) -> (origin, URL of KEEPERS, number of rows)."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        folder = self.folder
        return (
            parts
            | beam.FlatMapTuple(lambda part, buckets: scatter(part, buckets, folder))
            | beam.GroupByKey()
            | beam.FlatMapTuple(lambda bucket, batches: gather(bucket, batches, folder))
        )


def scatter(part: Documents, buckets: int, folder: str) -> Iterator[tuple[Bucket, Batch]]:
    """Write what a part's documents share into files, and tell which buckets they have rows of."""
    owner = np.repeat(np.arange(part.key.size), part.num_bands)
    shared = {
        TEXT: (part.text[:, 0], part.text[:, 1], part.key, part.record),
        BAND: (part.bands, part.text[owner, 0], part.key[owner], part.record[owner]),
    }
    for width, columns in shared.items():
        if not columns[0].size:
            continue
        shift = np.uint64(64 - (buckets - 1).bit_length())
        bucket = columns[0] >> shift if buckets > 1 else np.zeros(columns[0].size, np.uint64)
        order = np.argsort(bucket, kind="stable")
        table = pa.record_batch([pa.array(column[order]) for column in columns], schema=BUCKETS)
        ends = np.searchsorted(bucket[order], np.arange(buckets + 1))
        url = join(folder, f"{_name(part, width)}.arrow")
        filled = np.flatnonzero(np.diff(ends)).tolist()
        _write(url, BUCKETS, (table.slice(ends[i], ends[i + 1] - ends[i]) for i in filled))
        for index, place in enumerate(filled):
            yield (part.origin, width, place), Batch(url, index, part.split_rank, part.file)


def gather(bucket: Bucket, batches: Iterable[Batch], folder: str) -> Iterator[tuple[str, str, int]]:
    """Write the keepers of one bucket, if anything in it occurs twice."""
    origin, width, place = bucket
    ordered = sorted(batches, key=lambda batch: (batch.url, batch.index))
    tables = [_read(batch.url, batch.index) for batch in ordered]
    sizes = [table.num_rows for table in tables]
    columns = {
        name: np.concatenate([table.column(name).to_numpy() for table in tables])
        for name in BUCKETS.names
    }
    ranks = np.array([batch.split_rank for batch in ordered], np.int8)
    columns["split_rank"] = np.repeat(ranks, sizes)
    columns["file"] = np.repeat(np.array([batch.file for batch in ordered], np.int32), sizes)
    keepers = keepers_of(columns, width)
    if keepers.num_rows:
        url = join(folder, "keepers", f"{sha256(f'{origin} {width} {place}'.encode())[:32]}.arrow")
        _write(url, KEEPERS, [keepers])
        yield origin, url, keepers.num_rows


def keepers_of(columns: dict[str, np.ndarray], width: int) -> pa.RecordBatch:
    """The smallest (split_rank, key, file, record) of each group that shares something."""
    order = np.argsort(columns["first"])
    same = np.diff(columns["first"][order]) == 0
    # All but a few are alone: only rows whose first half occurs twice are sorted in full.
    twice = order[np.concatenate([same, [False]]) | np.concatenate([[False], same])]
    rows = {name: column[twice] for name, column in columns.items()}
    rank = [rows[name] for name in ("record", "file", "key", "split_rank")]
    by = (*rank, rows["second"], rows["first"]) if width == TEXT else (*rank, rows["first"])
    order = np.lexsort(by)
    rows = {name: column[order] for name, column in rows.items()}
    begins = np.ones(order.size, bool)
    begins[1:] = np.diff(rows["first"]) != 0
    other = np.zeros(order.size, bool)  # than the row before: another text of the same band
    other[1:] = np.diff(rows["second"]) != 0
    if width == TEXT:
        begins |= other
    group = np.cumsum(begins) - 1
    says = np.bincount(group, weights=~begins & (other if width == BAND else True)) > 0
    keepers = np.flatnonzero(begins)[says]
    halves = ("first", "second")[: width // 8]
    shared = np.stack([rows[name][keepers] for name in halves], axis=1).astype("<u8")
    offsets = np.arange(keepers.size + 1, dtype=np.int32) * width
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(shared.tobytes())]
    found = [pa.Array.from_buffers(pa.binary(), keepers.size, buffers)]
    found += [pa.array(rows[n][keepers]).cast(KEEPERS.field(n).type) for n in KEEPERS.names[1:]]
    return pa.record_batch(found, schema=KEEPERS)


def read_keepers(url: str) -> pa.Table:
    """A KEEPERS table that `gather` wrote."""
    return pa.Table.from_batches([_read(url, 0)])


def _name(part: Documents, width: int) -> str:
    first = f"{part.origin} {part.file} {part.key[0]} {part.record[0]} {width}"
    return sha256(first.encode())[:32]


def _write(url: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    # No flush to the disk: a run that is interrupted decides anew.
    fs, path = fsspec.core.url_to_fs(url)
    try:
        fs.makedirs(fs._parent(path), exist_ok=True)
        with fs.open(path, "wb") as sink, ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free space or fix the permissions, "
            "then run the same command again (finished work is kept)"
        ) from error


def _read(url: str, index: int) -> pa.RecordBatch:
    path = local_path(url)
    if path is not None:
        return ipc.open_file(pa.memory_map(str(path))).get_batch(index)
    with fsspec.open(url, "rb") as file:
        return ipc.open_file(file).get_batch(index)
