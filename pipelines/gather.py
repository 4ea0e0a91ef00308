"""Reduce: spills of an origin -> the shards of a stratum, in the order of document keys.

A stratum gets S = ceil(tokens / 16 M) shards; shard j merges the key range [j/S, (j+1)/S) of every
spill. Keys are hashes, so documents lie in a random order over their whole stratum, and the bytes
depend on the documents alone. Duplicates and held-out text leave here, each into the table of
drops. A datatrove task gathers a share of all shards of a build.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
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
from pipelines.spill import Spill
from schemas import shard as shards
from schemas.doc_names import key_range
from schemas.ledger import DROPS
from schemas.shard import DOCUMENTS, ShardMeta
from schemas.store import exists, join, read_bytes, write_bytes, write_json
from schemas.stratum import HELDOUT, StratumName

_JUDGED = ("key", "file", "record", "text_hash", "bands", "group", "score")
ROWS = pa.schema([*spills.META, ("part", pa.int64()), ("row", pa.int64())])  # where tokens lie
_NO_KEYS = pa.array([], pa.uint64())
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
    def is_first(self) -> bool:
        """Whether it is of the stratum that answers for all training text of its origin."""
        return self.tier == 0 and self.name.tier != HELDOUT

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
    rows = _read_rows(item)
    doc_ids = _number_repeats(rows, item.name.source)
    reasons = _reasons(rows, item)
    kept = pc.is_null(reasons)
    columns = [rows.column(name).filter(kept) for name in ("url", "key", "text_hash", "num_bytes")]
    name = ""
    if pc.any(kept).as_py():
        tokens = _tokens_of(item, rows.filter(kept))
        documents = pa.Table.from_arrays([tokens, doc_ids.filter(kept), *columns], schema=DOCUMENTS)
        name = shards.write(item.folder, item.index, item.num_shards, documents, item.meta)
        del tokens, documents
    dropped = _drops(rows, doc_ids, reasons, item)
    if dropped.num_rows:
        write_drops(item.drops, dropped)
    repaired = pc.sum(rows.column("repaired").filter(kept)).as_py() or 0
    write_json(item.done, {"shard": name, "repaired": repaired})
    pa.default_memory_pool().release_unused()  # else more is kept with every shard


def write_drops(url: str, table: pa.Table) -> None:
    """A table of drops (DROPS schema) as one Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table.cast(DROPS).combine_chunks(), sink, compression="zstd")
    write_bytes(url, sink.getvalue())


def _read_rows(item: GatherShard) -> pa.Table:
    """Metadata (ROWS schema) of the origin's kept documents of the key range, ordered by (key,
    file, record): of all for the first stratum, which answers for them; else of those that may be
    the stratum's own, and of their repeats.
    """
    own = None if item.is_first else pa.concat_arrays([_NO_KEYS, *_own_keys(item)])
    pieces = []
    for place, ref, table in _metadata(item):
        start, stop = _key_range(item, table.column("key").to_numpy())
        rows = np.arange(start, stop)
        # The file's place is the build's to say: the spill may be older than its neighbours.
        file = pa.array(np.full(rows.size, ref.file_index, np.int32))
        table = table.slice(start, rows.size).set_column(1, spills.META.field("file"), file)
        table = table.append_column("part", pa.array(np.full(rows.size, place)))
        table = table.append_column("row", pa.array(rows))
        if own is not None:
            table = table.filter(pc.is_in(table.column("key"), value_set=own))
        pieces.append(table)
    found = pa.concat_tables(pieces) if pieces else ROWS.empty_table()
    order = pc.sort_indices(found, [(k, "ascending") for k in ("key", "file", "record")])
    return found.take(order).combine_chunks()


def _metadata(item: GatherShard) -> Iterator[tuple[int, SpillRef, pa.Table]]:
    """Each part of the origin's spills, without its tokens, and its place among them."""
    parts = ((ref, part) for ref in item.spills for part in _spill(ref).parts)
    for place, (ref, part) in enumerate(parts):
        yield place, ref, spills.read_part(ref.folder, part, spills.META.names)


def _spill(ref: SpillRef) -> Spill:
    spill = spills.load(ref.folder)
    assert spill is not None, ref.folder
    return spill


def _key_range(item: GatherShard, keys: np.ndarray) -> tuple[int, int]:
    """Where the shard's documents lie in the sorted keys of a part."""
    low, high = key_range(item.index, item.num_shards)
    stop = keys.size if high >> 64 else int(np.searchsorted(keys, np.uint64(high)))
    return int(np.searchsorted(keys, np.uint64(low))), stop


def _own_keys(item: GatherShard) -> Iterator[pa.Array]:
    """Keys of the documents that are the stratum's unless another copy of them stays."""
    for _, ref, table in _metadata(item):
        start, stop = _key_range(item, table.column("key").to_numpy())
        table = table.slice(start, stop - start)
        if item.name.tier != HELDOUT:
            scores = table.column("score").to_pylist() if ref.split != "test" else []
            own = pa.array([item.tiers[ref.tier(score)] == item.name.tier for score in scores])
            table = table.filter(own) if scores else table.slice(0, 0)
        elif ref.split != "test":
            groups = pa.array(sorted(item.decision.held_out) if ref.grouped else [], pa.uint64())
            table = table.filter(pc.is_in(table.column("group"), value_set=groups))
        yield table.column("key").combine_chunks()


def _tokens_of(item: GatherShard, rows: pa.Table) -> pa.Array:
    """The tokens of documents (ROWS schema), in their order."""
    parts = [(ref, part) for ref in item.spills for part in _spill(ref).parts]
    part, row = rows.column("part").to_numpy(), rows.column("row").to_numpy()
    by_part = np.lexsort((row, part))
    places, firsts = np.unique(part[by_part], return_index=True)
    found = []
    for place, mine in zip(places.tolist(), np.split(row[by_part], firsts[1:]), strict=True):
        ref, name = parts[place]
        tokens = spills.read_part(ref.folder, name, ["tokens"]).column("tokens")
        found.append(tokens.combine_chunks().take(pa.array(mine)))
    inverse = np.empty(by_part.size, np.int64)
    inverse[by_part] = np.arange(by_part.size)
    return pa.concat_arrays(found).take(pa.array(inverse))


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
    first = item.is_first
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
