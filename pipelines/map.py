"""Map: raw files -> filtered, hashed, tokenised spills. A datatrove pipeline of blocks.

    ReadFiles -> Screen -> Grade, where a source has a probe -> Tokenise -> WriteSpills

A record flows through all of them whether it is kept or dropped: the last block accounts for each.
A task is a byte-balanced share of the files; what the spill of a file holds depends on the file
alone, never on the number of tasks, workers or the runner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa
import xxhash
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from pipelines import spill as spills
from pipelines.executor import Tasks
from pipelines.inventory import InputFile
from pipelines.near import NO_SHINGLES, bands, group_hash, shingles
from pipelines.prove import Proving, save_proof
from pipelines.read import reader_of
from pipelines.record import FileRead, Record
from pipelines.spill import Spill
from schemas.doc_names import document_key
from schemas.ledger import DROPS
from schemas.seal import Seal, seal_folder
from schemas.store import Store
from schemas.text import Fields, Filters

BATCH = 256  # documents tokenised in one call
BATCH_CHARACTERS = 2_000_000  # of them, and one document more: an engine needs 100 times that
DROPS_AS_ROWS = 10_000  # that wait as Python objects; a table of them is a tenth as large
PART_TOKENS = 8_000_000  # a spill's part is sorted in memory: 32 MB, and as much for its rows


@dataclass(frozen=True)
class MapFile:
    """One input file with all that decides its spill."""

    file: InputFile
    file_index: int  # among its origin's files
    source: str  # `dolmino/math`
    layout: str  # format of the source
    fields: Fields
    language: str
    min_score: float | None
    filters: Filters  # less those that the source is spared
    probe: tuple[str, str] | None  # its folder and digest; it scores what the filters keep
    grouped: bool  # held-out text is chosen from it: near-duplicates must hash alike
    spill_id: str
    folder: str


@dataclass(frozen=True)
class End:
    """Marks the end of a file in the stream, with what the reader counted."""

    told: FileRead


class ReadFiles(PipelineStep):
    """Yields every record of this task's files, then an `End` for each file."""

    name = "files"
    type = "📖 - READ"

    def __init__(self, tasks: Sequence[Sequence[MapFile]]) -> None:
        super().__init__()
        self.tasks = Tasks(tasks)

    def run(
        self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        for item in self.tasks[rank]:
            if spills.load(item.folder) is not None:
                continue  # made before this task was interrupted
            told = FileRead()
            for record in reader_of(item.layout, item.fields)(item.file, told):
                yield _carry(item, record)
            yield _carry(item, End(told))


def _carry(item: MapFile, what: Record | End) -> Document:
    # datatrove's Document wants text and id; the record itself travels in the metadata.
    return Document(text="", id="", metadata={"file": item, "record": what})


class Tokenise(PipelineStep):
    """Puts `tokens` (uint32) on every kept record, a batch at a time."""

    name = "tokenizer"
    type = "🔢 - TOKENIZE"

    def __init__(self, store: Store, sealed: Seal) -> None:
        super().__init__()
        self.store = store
        self.sealed = sealed

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        folder = seal_folder(self.store.url, self.sealed.digest)
        encoder = Proving.of(folder)
        is_special = np.zeros(self.sealed.vocab_size, bool)
        is_special[list(self.sealed.special.ids())] = True
        for batch in _batches(data):
            kept = [d for d in batch if _is_kept(d)]
            for item, group in groupby(kept, key=lambda d: d.metadata["file"]):
                documents = list(group)
                texts = [d.metadata["record"].text for d in documents]
                file = f"{item.source}: {item.file.relative}"
                ids = encoder.encode(texts, file, item.language)
                for document, tokens in zip(documents, ids, strict=True):
                    record = document.metadata["record"]
                    if not tokens.size:
                        record.reason = "no_tokens"
                    elif is_special[tokens].any():
                        record.reason = "special_token"  # never a target, so never in a document
                    document.metadata["tokens"] = tokens
                    self.stat_update("tokens", value=tokens.size)
            yield from batch
        save_proof(folder, encoder.proof)


def _is_kept(document: Document) -> bool:
    record = document.metadata["record"]
    return isinstance(record, Record) and record.reason is None


def _batches(data: DocumentsPipeline) -> Iterator[list[Document]]:
    """All of a stream in lists of at most BATCH documents, fewer where their texts are long."""
    batch: list[Document] = []
    characters = 0
    for document in data:
        batch.append(document)
        record = document.metadata["record"]
        characters += len(record.text or "") if isinstance(record, Record) else 0
        if len(batch) == BATCH or characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    yield batch


class WriteSpills(PipelineStep):
    """One spill a file: kept documents sorted by key, drops, and what the reader counted."""

    name = "spills"
    type = "💽 - WRITE"

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        writer: _SpillWriter | None = None
        for document in data:
            item, record = document.metadata["file"], document.metadata["record"]
            if writer is None:
                writer = _SpillWriter(item, self.seed)
            if isinstance(record, End):
                writer.commit(record.told)
                writer = None
            else:
                writer.add(record, document.metadata.get("tokens"))
            yield document


class _SpillWriter:
    def __init__(self, item: MapFile, seed: int) -> None:
        self.item = item
        self.seed = seed
        self.near = "near_duplicate" in item.filters.use
        self.rows: list[dict[str, str | int | float | bool | bytes | list[int] | None]] = []
        self.tokens: list[np.ndarray] = []
        self.num_tokens = 0
        self.parts: list[str] = []
        self.drops: list[dict[str, str | int]] = []
        self.dropped = DROPS.empty_table()

    def add(self, record: Record, tokens: np.ndarray | None) -> None:
        native = record.native_id or f"{self.item.file.relative}#{record.number}"
        doc_id = f"{self.item.source}:{native}"
        text = (record.text or "").encode(errors="surrogatepass")
        num_bytes = len(text) if record.text is not None else record.num_bytes
        if record.reason is not None or tokens is None:
            assert record.reason is not None, doc_id
            self.drops.append(
                {
                    "doc_id": doc_id,
                    "reason": record.reason,
                    "file": self.item.file.relative,
                    "record": record.number,
                    "num_bytes": num_bytes,
                    "detail": record.detail,
                }
            )
            if len(self.drops) == DROPS_AS_ROWS:
                self._tabulate()
            return
        hashes = shingles(record.text or "") if self.near or self.item.grouped else NO_SHINGLES
        self.rows.append(
            {
                "key": document_key(self.seed, doc_id),
                "file": self.item.file_index,
                "record": record.number,
                "native_id": native,
                "text_hash": xxhash.xxh3_128_digest(text),
                "group": group_hash(self.seed, hashes) if self.item.grouped else 0,
                "bands": bands(self.seed, hashes) if self.near else [],
                "score": record.quality_score,
                "num_tokens": int(tokens.size),
                "num_bytes": num_bytes,
                "repaired": record.repaired,
                "url": record.url,
            }
        )
        self.tokens.append(tokens)
        self.num_tokens += tokens.size
        if self.num_tokens >= PART_TOKENS:
            self.flush()

    def flush(self) -> None:
        if not self.rows:
            return
        table = pa.Table.from_pylist(self.rows, spills.META)
        lengths = np.array([t.size for t in self.tokens], np.int64)
        column = token_column(np.concatenate(self.tokens), lengths)
        table = table.append_column(spills.PART.field("tokens"), column)
        self.parts.append(spills.write_part(self.item.folder, len(self.parts), table))
        self.rows, self.tokens, self.num_tokens = [], [], 0
        del table, column
        pa.default_memory_pool().release_unused()

    def _tabulate(self) -> None:
        self.dropped = pa.concat_tables([self.dropped, pa.Table.from_pylist(self.drops, DROPS)])
        self.drops = []

    def commit(self, told: FileRead) -> None:
        self.flush()
        self._tabulate()
        spill = Spill(
            id=self.item.spill_id,
            read=told.num_read,
            parts=tuple(self.parts),
            dropped=self.dropped.num_rows,
            unreadable=tuple(told.unreadable),
        )
        spills.commit(self.item.folder, spill, self.dropped)


def token_column(tokens: np.ndarray, lengths: np.ndarray) -> pa.LargeListArray:
    """A large_list<uint32> column from flat tokens [t] and the lengths [n] of its documents."""
    offsets = np.zeros(lengths.size + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(tokens, pa.uint32()))


def share_out(files: Sequence[MapFile], tasks: int) -> list[list[MapFile]]:
    """Files to tasks, the largest first to the task with the fewest bytes."""
    shares: list[list[MapFile]] = [[] for _ in range(tasks)]
    loads = [0] * tasks
    for item in sorted(files, key=lambda i: (-i.file.size_bytes, i.folder)):
        lightest = loads.index(min(loads))
        shares[lightest].append(item)
        # 20 kB more for what each file costs whatever its size.
        loads[lightest] += item.file.size_bytes + 20_000
    return shares
