"""Reduce: spills of an origin -> the shards of a stratum, in the order of document keys.

A stratum gets S = ceil(tokens / 16 M) shards; shard j merges the key range [j/S, (j+1)/S) of every
spill. Keys are hashes, so documents lie in a random order over their whole stratum, and the bytes
depend on the documents alone. Duplicates and held-out text leave here, each into the table of
drops. A datatrove task gathers a share of all shards of a build.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from pipelines import spill as spills
from pipelines.decision import Decision, Rank, SpillRef, band_key
from pipelines.executor import Tasks
from schemas import shard as shards
from schemas.doc_names import key_range
from schemas.ledger import DROPS
from schemas.shard import DOCUMENTS, ShardMeta
from schemas.store import exists, join, read_bytes, write_bytes, write_json
from schemas.stratum import HELDOUT, StratumName

_JUDGED = ("key", "file", "record", "text_hash", "bands", "group", "score")
SMALL_TOKENS = 1_000_000  # of a stratum whose shard is made beside others
THREADS = 8


@dataclass(frozen=True)
class GatherShard:
    """One shard to make: key range [index / num_shards, (index + 1) / num_shards)."""

    name: StratumName
    tier: int  # its place among the training strata of its origin, the lowest 0
    tiers: tuple[str, ...]  # their names
    folder: str
    index: int
    num_shards: int
    spills: tuple[SpillRef, ...]  # all of the origin: repeats of an id are numbered over them
    files: tuple[str, ...]  # relative names of the origin's files
    decision: Decision
    meta: ShardMeta
    scratch: str  # folder of what the publish step reads

    @property
    def done(self) -> str:
        return join(self.scratch, f"gathered-{self.index:05d}.json")

    @property
    def drops(self) -> str:
        return join(self.scratch, f"dropped-{self.index:05d}.parquet")


class Gather(PipelineStep):
    """Makes this task's shards, those of small strata several at a time: what such a shard costs is
    above all waiting for the disk.
    """

    name = "shards"
    type = "🫂 - GATHER"

    def __init__(self, tasks: Sequence[Sequence[GatherShard]]) -> None:
        super().__init__()
        self.tasks = Tasks(tasks)

    def run(
        self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        items = [item for item in self.tasks[rank] if not is_gathered(item)]
        small = [item for item in items if item.decision.num_tokens < SMALL_TOKENS]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(gather, small))
        for item in items:
            if item.decision.num_tokens >= SMALL_TOKENS:
                gather(item)
        yield from (Document(text="", id=item.done) for item in self.tasks[rank])


def is_gathered(item: GatherShard) -> bool:
    """Whether the shard was made before, and is still there."""
    if not exists(item.done):
        return False
    name = json.loads(read_bytes(item.done))["shard"]
    return not name or exists(join(item.folder, name))


def gather(item: GatherShard) -> None:
    """Make one shard and its table of drops, if any; the same bytes however often it is run."""
    table = _read_range(item)
    doc_ids = _number_repeats(table, item.name.source)
    reasons = _reasons(table, item)
    kept = pc.is_null(reasons)
    documents = pa.Table.from_arrays(
        [
            table.column("tokens"),
            doc_ids,
            table.column("url"),
            table.column("key"),
            table.column("text_hash"),
            table.column("num_bytes"),
        ],
        schema=DOCUMENTS,
    ).filter(kept)
    dropped = _drops(table, doc_ids, reasons, item)
    repaired = pc.sum(table.column("repaired").filter(kept)).as_py() or 0
    del table  # half of what is held
    name = ""
    if documents.num_rows:
        name = shards.write(item.folder, item.index, item.num_shards, documents, item.meta)
    if dropped.num_rows:
        write_drops(item.drops, dropped)
    write_json(item.done, {"shard": name, "repaired": repaired})
    del documents, dropped
    pa.default_memory_pool().release_unused()  # else more is kept with every shard


def write_drops(url: str, table: pa.Table) -> None:
    """A table of drops (DROPS schema) as one Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table.cast(DROPS).combine_chunks(), sink, compression="zstd")
    write_bytes(url, sink.getvalue())


def _read_range(item: GatherShard) -> pa.Table:
    """The origin's kept documents of the key range, ordered by (key, file, record)."""
    low, high = key_range(item.index, item.num_shards)
    pieces = []
    for ref in item.spills:
        spill = spills.load(ref.folder)
        assert spill is not None, ref.folder
        for part in spill.parts:
            keys = spills.read_part(ref.folder, part, ["key"]).column("key").to_numpy()
            start = int(np.searchsorted(keys, np.uint64(low)))
            stop = keys.size if high >> 64 else int(np.searchsorted(keys, np.uint64(high)))
            table = spills.read_part(ref.folder, part).slice(start, stop - start)
            # The file's place is the build's to say: the spill may be older than its neighbours.
            place = pa.array(np.full(table.num_rows, ref.file_index, np.int32))
            pieces.append(table.set_column(1, spills.PART.field("file"), place))
    table = pa.concat_tables(pieces) if pieces else spills.PART.empty_table()
    order = pc.sort_indices(table, [(k, "ascending") for k in ("key", "file", "record")])
    return table.take(order).combine_chunks()


def _number_repeats(table: pa.Table, source: str) -> pa.Array:
    """`source:native id`; the second of an id gets ~2, the third ~3, in order of file and record.

    Equal ids have equal keys, so they lie side by side.
    """
    native = table.column("native_id").to_pylist()
    found: list[tuple[str, int]] = []
    for place, name in enumerate(native):
        times = found[place - 1][1] + 1 if place and native[place - 1] == name else 1
        found.append((name, times))
    names = [f"{source}:{name}" if n == 1 else f"{source}:{name}~{n}" for name, n in found]
    return pa.array(names, pa.large_string())


def _reasons(table: pa.Table, item: GatherShard) -> pa.Array:
    """Why a document is not in this stratum: null when it is, "" when it was never its own.

    The origin's first stratum answers for all of its training text: it drops what no stratum keeps
    and gives up what is held out or of a better tier; the others have only what they keep.
    """
    refs = {ref.file_index: ref for ref in item.spills}
    first = item.tier == 0 and item.name.tier != HELDOUT
    columns = (table.column(name).to_pylist() for name in _JUDGED)
    reasons: list[str | None] = []
    for key, file, record, text_hash, bands, group, score in zip(*columns, strict=True):
        ref = refs[file]
        rank = (0 if ref.split == "test" else 1, key, file, record)
        dropped = _duplicate(item.decision.keepers, rank, text_hash, bands)
        stratum = HELDOUT if ref.split == "test" else item.tiers[ref.tier(score)]
        if ref.grouped and group in item.decision.held_out:
            stratum = HELDOUT
        if dropped is None and stratum == item.name.tier:
            reasons.append(None)
        elif ref.split == "test":
            reasons.append(dropped if item.name.tier == HELDOUT else "")
        elif not first:
            reasons.append("")
        else:
            moved = "held_out" if stratum == HELDOUT else f"tier_{stratum}"
            reasons.append(dropped or moved)
    return pa.array(reasons, pa.string())


def _duplicate(
    keepers: Mapping[bytes, Rank], rank: Rank, text_hash: bytes, bands: Sequence[int]
) -> str | None:
    """The reason to drop a document of which another copy stays, or None."""
    keeper = keepers.get(text_hash, rank)
    if keeper != rank:
        return "in_heldout" if keeper[0] < rank[0] else "exact_duplicate"
    for band in bands:
        keeper = keepers.get(band_key(band), rank)
        if keeper != rank:
            return "near_heldout" if keeper[0] < rank[0] else "near_duplicate"
    return None


def _drops(table: pa.Table, doc_ids: pa.Array, reasons: pa.Array, item: GatherShard) -> pa.Table:
    dropped = pc.fill_null(pc.not_equal(reasons, ""), False)
    files = [item.files[i] for i in table.column("file").to_pylist()]
    return pa.Table.from_arrays(
        [
            doc_ids.cast(pa.string()),
            reasons,
            pa.array(files, pa.string()),
            table.column("record"),
            table.column("num_bytes"),
            pa.array([""] * table.num_rows, pa.string()),
        ],
        schema=DROPS,
    ).filter(dropped)
