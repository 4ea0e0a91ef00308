"""Decide: what needs to see all documents of an origin at once. Beam, over metadata rows only.

In: the metadata of spills (never tokens). Out, for each origin, a `Decision`:

    tallies      documents and tokens of each split and tier, before duplicates go
    keepers      text hash, or band -> the one copy that stays, where several documents share it
    held_out     the groups of near-duplicates that are held out

Everything is made part by part with arrays and then combined by key, so any runner computes it in
any order; memory is that of a part, or of a bucket of pipelines/copies.py, and of the keepers. The
copy that stays is the smallest (held-out first, key, file, record): text that is held out is never
trained on.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import apache_beam as beam
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines import spill as spills
from pipelines.copies import Copies, Documents, num_buckets, read_keepers
from pipelines.decision import Decision, SpillRef
from pipelines.hold_out import hold_out, num_held_out
from schemas.digest import Json, canonical, sha256
from schemas.errors import UserError
from schemas.ledger import LedgerError
from schemas.profile import IN_PROCESS, Beam
from schemas.recipe import HeldOut
from schemas.store import join, read_bytes, write_bytes

# What travels through files, one JSON list a row, in these columns.
TALLIES = pa.schema(
    [
        ("origin", pa.string()),
        ("split", pa.string()),
        ("tier", pa.int8()),
        ("documents", pa.int64()),
        ("tokens", pa.int64()),
    ]
)
FOUND = pa.schema([("origin", pa.string()), ("url", pa.string()), ("rows", pa.int64())])
SMALLEST = pa.schema([("origin", pa.string()), ("groups", pa.list_(pa.list_(pa.uint64())))])
COUNTS = pa.schema([("name", pa.string()), ("count", pa.int64())])


@dataclass(frozen=True)
class Part:
    """A part of a spill, of an origin whose copies are looked for in so many buckets."""

    ref: SpillRef
    name: str
    buckets: int


def parts_of(refs: Sequence[SpillRef]) -> Iterator[Part]:
    """The parts of one origin's spills."""
    found = [spills.load(ref.folder) for ref in refs]
    documents = sum(spill.read - spill.dropped for spill in found if spill is not None)
    for ref, spill in zip(refs, found, strict=True):
        assert spill is not None, ref.folder
        for name in spill.parts:
            yield Part(ref, name, num_buckets(documents))


def read(part: Part, *columns: str) -> list[pa.Array]:
    table = spills.read_part(part.ref.folder, part.name, list(columns))
    return [table.column(name).combine_chunks() for name in columns]


def documents_of(part: Part) -> tuple[Documents, int]:
    """What finds the copies of a part's documents, and in how many buckets."""
    ref = part.ref
    key, record, text, bands = read(part, "key", "record", "text_hash", "bands")
    documents = Documents(
        origin=ref.origin,
        split_rank=0 if ref.split == "test" else 1,
        file=ref.file_index,
        key=key.to_numpy(),
        record=record.to_numpy(),
        text=np.frombuffer(b"".join(text.to_pylist()), "<u8").reshape(-1, 2),
        bands=bands.flatten().to_numpy(),
        num_bands=pc.fill_null(pc.list_value_length(bands), 0).to_numpy(),
    )
    return documents, part.buckets


def runner_of(on: Beam) -> tuple[FnApiRunner | str, PipelineOptions]:
    """What a pipeline runs on: Beam's in-process runner where none is named."""
    return on.runner or FnApiRunner(), PipelineOptions(list(on.options))


class Tally(beam.PTransform):
    """Parts -> [origin, split, tier, documents, tokens]."""

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        return (
            parts
            | beam.FlatMap(tally)
            | beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum))
            | beam.Map(lambda tally: [*tally[0], *tally[1]])
        )


def tally(part: Part) -> Iterator[tuple[tuple[str, str, int], tuple[int, int]]]:
    """Documents and tokens of a part, by tier."""
    ref = part.ref
    score, num_tokens = read(part, "score", "num_tokens")
    scores = pc.fill_null(score, -np.inf).to_numpy()
    tiers = np.maximum(np.searchsorted(ref.bounds, scores, side="right") - 1, 0)
    tokens = num_tokens.to_numpy()
    for tier in np.unique(tiers).tolist():
        mine = tiers == tier
        yield (ref.origin, ref.split, tier), (int(mine.sum()), int(tokens[mine].sum()))


class SmallestGroups(beam.PTransform):
    """Parts of origins without a test split -> [origin, [hash and documents of each of the groups
    with the smallest hashes, in order]].
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        most = self.most

        def smallest(part: Part) -> tuple[str, list[tuple[int, int]]]:
            groups, sizes = np.unique(read(part, "group")[0].to_numpy(), return_counts=True)
            pairs = zip(groups[:most].tolist(), sizes[:most].tolist(), strict=True)
            return part.ref.origin, list(pairs)

        def together(found: Iterable[list[tuple[int, int]]]) -> list[tuple[int, int]]:
            sizes: Counter[int] = Counter()
            for group, size in chain.from_iterable(found):
                sizes[group] += size
            return sorted(sizes.items())[:most]

        return (
            parts
            | beam.Filter(lambda part: part.ref.grouped and part.ref.split == "train")
            | beam.Map(smallest)
            | beam.CombinePerKey(together)
            | beam.Map(list)
        )


def decide(
    refs: Iterable[SpillRef],
    heldout: HeldOut,
    folder: str,
    on: Beam = IN_PROCESS,
) -> dict[str, Decision]:
    """Run the decide step over spills, on the given runner; returns the decision of each origin.

    Results travel through files in `folder`, as a runner's workers may be anywhere; what was
    written is counted against what was read back, since a sink can lose rows and say nothing.
    """
    refs = list(refs)
    origins = defaultdict(list)
    for ref in refs:
        origins[ref.origin].append(ref)
    with _users_errors(), beam.Pipeline(*runner_of(on)) as pipeline:
        parts = (
            pipeline
            | beam.Create(list(origins.values()))
            | "spread origins" >> beam.Reshuffle()
            | beam.FlatMap(parts_of)
            | "spread parts" >> beam.Reshuffle()
        )
        tallies = parts | "tally" >> Tally()
        smallest = parts | "held out" >> SmallestGroups(heldout.max_documents)
        keepers = parts | beam.Map(documents_of) | "copies" >> Copies(join(folder, "copies"))
        counts = (
            parts | "documents" >> Counted("documents", lambda part: len(read(part, "key")[0])),
            keepers | "keepers" >> Counted("keepers", lambda found: found[2]),
        ) | beam.Flatten()
        _ = tallies | "write tallies" >> WriteRows(join(folder, "tallies"))
        _ = keepers | "write keepers" >> WriteRows(join(folder, "keepers"))
        _ = smallest | "write smallest" >> WriteRows(join(folder, "smallest"))
        _ = counts | "write counts" >> WriteRows(join(folder, "counts"))
    return _collect(folder, refs, heldout)


@contextmanager
def _users_errors() -> Iterator[None]:
    """A runner adds where it was to what a worker has raised, or tells it as text of its own."""
    try:
        yield
    except (UserError, RuntimeError) as error:
        told = f"{type(error).__name__}: {error}"
        if said := re.search(r"UserError: (.+?)(?: \[while running|\n|$)", told):
            raise UserError(said[1]) from error
        raise


class Counted(beam.PTransform):
    """How much the elements of a collection count together -> [name, count]."""

    def __init__(self, name: str, count: Callable[..., int]) -> None:
        super().__init__()
        self.name = name
        self.count = count

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        name = self.name
        return (
            elements
            | beam.Map(self.count)
            | beam.CombineGlobally(sum)
            | beam.Map(lambda count: [name, count])
        )


class WriteRows(beam.PTransform):
    """JSON values -> files of one a line, through fsspec (Beam's own sinks know no fsspec)."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return rows | beam.ParDo(_WriteBundle(self.folder))


class _WriteBundle(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def start_bundle(self) -> None:
        self.lines: list[bytes] = []

    def process(self, row: Json) -> None:
        self.lines.append(canonical(row))

    def finish_bundle(self) -> None:
        if self.lines:
            data = b"\n".join(self.lines) + b"\n"
            # A bundle that is retried writes the same rows again: readers collect by key.
            write_bytes(join(self.folder, f"{sha256(data)[:16]}.jsonl"), data)


def read_written(folder: str, schema: pa.Schema) -> pa.Table:
    """All rows that `WriteRows` wrote into a folder, as a table of the given columns."""
    fs, path = fsspec.core.url_to_fs(folder)
    files = sorted(fs.find(path)) if fs.exists(path) else []
    rows = [
        dict(zip(schema.names, json.loads(line), strict=True))
        for file in files
        for line in read_bytes(fs.unstrip_protocol(file)).splitlines()
    ]
    return pa.Table.from_pylist(rows, schema)


def _collect(folder: str, refs: list[SpillRef], heldout: HeldOut) -> dict[str, Decision]:
    decisions = {ref.origin: Decision() for ref in refs}
    for row in read_written(join(folder, "tallies"), TALLIES).to_pylist():
        decisions[row["origin"]].documents[row["split"], row["tier"]] = row["documents"]
        decisions[row["origin"]].tokens[row["split"], row["tier"]] = row["tokens"]
    for row in read_written(join(folder, "keepers"), FOUND).to_pylist():
        table = read_keepers(row["url"])
        shared, *ranks = (table.column(name).to_pylist() for name in table.column_names)
        decisions[row["origin"]].keepers |= zip(shared, zip(*ranks, strict=True), strict=True)
    for row in read_written(join(folder, "smallest"), SMALLEST).to_pylist():
        decision = decisions[row["origin"]]
        training = (n for (split, _), n in decision.documents.items() if split == "train")
        documents = sum(training)
        count = num_held_out(documents, heldout)
        decision.held_out = hold_out(row["groups"], count, documents)
    found = {
        "documents": sum(sum(d.documents.values()) for d in decisions.values()),
        "keepers": sum(len(d.keepers) for d in decisions.values()),
    }
    for row in read_written(join(folder, "counts"), COUNTS).to_pylist():
        if found[row["name"]] != row["count"]:
            raise LedgerError(
                f"the decide step wrote {row['count']:,} {row['name']} and "
                f"{found[row['name']]:,} came back from {folder}; nothing was published, run the "
                "same command again"
            )
    return decisions
