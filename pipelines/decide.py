"""Decide: what needs to see all documents of an origin at once. Beam, over metadata rows only.

In: the metadata of spills (never tokens). Out, for each origin, a `Decision`:

    tallies      documents and tokens of each split and tier, before duplicates go
    keepers      text hash, or band -> the one copy that stays, where several documents share it
    threshold    documents whose near-duplicate group hashes up to it are held out

Everything is a combine by key, so any runner computes it in any order. The copy that stays is the
smallest (held-out first, key, file, record): text that is held out is never trained on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import fsspec
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines import spill as spills
from pipelines.decision import NO_THRESHOLD, Decision, Rank, SpillRef, band_key
from schemas.digest import Json, canonical, sha256
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
KEEPERS = pa.schema(
    [
        ("origin", pa.string()),
        ("shared", pa.string()),
        ("split_rank", pa.int8()),
        ("key", pa.uint64()),
        ("file", pa.int32()),
        ("record", pa.int64()),
    ]
)
SMALLEST = pa.schema([("origin", pa.string()), ("groups", pa.list_(pa.uint64()))])
COUNTS = pa.schema([("name", pa.string()), ("count", pa.int64())])


@dataclass(frozen=True)
class Row:
    """A document's metadata: what the combines look at."""

    origin: str
    split: str
    grouped: bool
    text_hash: bytes
    group: int
    bands: list[int]
    tier: int
    num_tokens: int
    key: int
    file: int
    record: int

    @property
    def rank(self) -> Rank:
        return (0 if self.split == "test" else 1, self.key, self.file, self.record)

    @property
    def shared(self) -> Iterator[bytes]:
        """What duplicates have in common with each other: the text, or a band of it."""
        yield self.text_hash
        yield from map(band_key, self.bands)


def read_rows(ref: SpillRef) -> Iterator[Row]:
    spill = spills.load(ref.folder)
    assert spill is not None, ref.folder
    for part in spill.parts:
        table = spills.read_part(ref.folder, part, spills.DECIDING)
        columns = [table.column(name).to_pylist() for name in spills.DECIDING]
        for key, _, record, text_hash, group, bands, score, num_tokens in zip(
            *columns, strict=True
        ):
            yield Row(
                ref.origin,
                ref.split,
                ref.grouped,
                text_hash,
                group,
                bands,
                ref.tier(score),
                num_tokens,
                key,
                ref.file_index,
                record,
            )


def runner_of(on: Beam) -> tuple[FnApiRunner | str, PipelineOptions]:
    """What a pipeline runs on: Beam's in-process runner where none is named."""
    return on.runner or FnApiRunner(), PipelineOptions(list(on.options))


def num_held_out(documents: int, heldout: HeldOut) -> int:
    """How many of a stratum's documents are held out: a share, at least 1; none of a tiny one."""
    if documents < heldout.min_stratum_documents:
        return 0
    return max(1, min(heldout.max_documents, round(documents * heldout.share)))


class Tally(beam.PTransform):
    """Rows -> [origin, split, tier, documents, tokens]."""

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return (
            rows
            | beam.Map(lambda r: ((r.origin, r.split, r.tier), (1, r.num_tokens)))
            | beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum))
            | beam.Map(lambda tally: [*tally[0], *tally[1]])
        )


class DuplicateGroups(beam.PTransform):
    """Rows -> [origin, what they share, *rank of the copy that stays], for what occurs twice."""

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return (
            rows
            | beam.FlatMap(lambda r: [((r.origin, key), (1, r.rank)) for key in r.shared])
            | beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, min))
            | beam.Filter(lambda group: group[1][0] > 1)
            | beam.Map(lambda group: [group[0][0], group[0][1].hex(), *group[1][1]])
        )


class SmallestGroups(beam.PTransform):
    """Rows of origins without a test split -> [origin, its smallest group hashes in order]."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return (
            rows
            | beam.Filter(lambda r: r.grouped and r.split == "train")
            | beam.Map(lambda r: (r.origin, r.group))
            | beam.combiners.Top.SmallestPerKey(self.most)
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
    with beam.Pipeline(*runner_of(on)) as pipeline:
        rows = pipeline | beam.Create(refs) | beam.Reshuffle() | beam.FlatMap(read_rows)
        tallies = rows | "tally" >> Tally()
        keepers = rows | "duplicates" >> DuplicateGroups()
        smallest = rows | "held out" >> SmallestGroups(heldout.max_documents)
        counts = (
            rows | "documents" >> Counted("documents"),
            keepers | "keepers" >> Counted("keepers"),
        ) | beam.Flatten()
        _ = tallies | "write tallies" >> WriteRows(join(folder, "tallies"))
        _ = keepers | "write keepers" >> WriteRows(join(folder, "keepers"))
        _ = smallest | "write smallest" >> WriteRows(join(folder, "smallest"))
        _ = counts | "write counts" >> WriteRows(join(folder, "counts"))
    return _collect(folder, refs, heldout)


class Counted(beam.PTransform):
    """How many elements a collection has -> [name, count]."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        name = self.name
        return rows | beam.combiners.Count.Globally() | beam.Map(lambda count: [name, count])


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
    for row in read_written(join(folder, "keepers"), KEEPERS).to_pylist():
        rank = (row["split_rank"], row["key"], row["file"], row["record"])
        decisions[row["origin"]].keepers[bytes.fromhex(row["shared"])] = rank
    for row in read_written(join(folder, "smallest"), SMALLEST).to_pylist():
        decision = decisions[row["origin"]]
        training = (n for (split, _), n in decision.documents.items() if split == "train")
        count = num_held_out(sum(training), heldout)
        decision.threshold = row["groups"][count - 1] if count else NO_THRESHOLD
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
