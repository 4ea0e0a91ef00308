"""Publish: count what was kept by opening the shards again, close the ledger, commit the stratum.

The three sides of the ledger meet here for the first time: what the readers counted (spills), what
the shards hold (opened again from the store), what the table of drops lists.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import spill as spills
from pipelines.decision import SpillRef
from pipelines.gather import GatherShard, write_drops
from schemas import shard as shards
from schemas import stratum as strata
from schemas.ledger import DROPS, Ledger, UnreadableSpan
from schemas.progress import Progress
from schemas.rows import CONTEXTS, count_rows
from schemas.seal import Seal
from schemas.store import exists, join, read_bytes
from schemas.stratum import HELDOUT, ContextRows, ShardEntry, Stratum, StratumName

THREADS = 8  # that publish: a small stratum costs above all waiting for the disk


@dataclass(frozen=True)
class PlannedStratum:
    """A stratum to be built: its name, its id and what the id covers."""

    name: StratumName
    id: str
    folder: str
    scratch: str
    made_from: dict[str, str | int | float | bool | None]
    moved: str = ""  # it reads no file: the origin's first stratum drops its documents so


Gathered = tuple[PlannedStratum, Sequence[SpillRef], Sequence[GatherShard]]


def publish_all(
    origins: Sequence[Sequence[Gathered]], sealed: Seal, progress: Progress
) -> list[Stratum]:
    """Commit the gathered strata of each origin, the one first that answers for its training text.

    Raises LedgerError as `publish` does; what was committed by then stays.
    """

    def publish_origin(gathered: Sequence[Gathered]) -> list[Stratum]:
        done: list[Stratum] = []
        for planned, refs, items in gathered:
            given = done[0].ledger.dropped.get(planned.moved, 0) if done else 0
            done.append(publish(planned, refs, items, sealed, given))
        return done

    strata: list[Stratum] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for place, done in enumerate(pool.map(publish_origin, origins)):
            progress("strata", place, len(origins))
            strata += done
    progress("strata", len(origins), len(origins))
    return strata


def publish(
    planned: PlannedStratum,
    refs: Sequence[SpillRef],
    items: Sequence[GatherShard],
    sealed: Seal,
    given: int,
) -> Stratum:
    """Commit one stratum whose shards are gathered.

    `given` counts the documents that the origin's first stratum gave up for this one: they are what
    it reads where it has no files of its own. Raises LedgerError when documents are unaccounted
    for; nothing is published then.
    """
    entries, repaired, tables = [], 0, []
    kept_bytes = kept_documents = 0
    for item in items:
        told = json.loads(read_bytes(item.done))
        if exists(item.drops):
            tables.append(pq.read_table(io.BytesIO(read_bytes(item.drops))))
        repaired += told["repaired"]
        if told["shard"]:
            entry, num_bytes = _count(planned.folder, told["shard"], sealed)
            entries.append(entry)
            kept_documents += entry.documents
            kept_bytes += num_bytes

    split = "test" if planned.name.tier == HELDOUT else "train"
    read = 0
    unreadable: list[UnreadableSpan] = []
    for ref in refs:
        if ref.split == split and not planned.moved:
            spill = spills.load(ref.folder)
            assert spill is not None, ref.folder
            read += spill.read
            unreadable += spill.unreadable
            tables.append(spills.read_dropped(ref.folder))
    dropped = pa.concat_tables(tables) if tables else DROPS.empty_table()
    write_drops(join(planned.folder, "dropped.parquet"), dropped)
    ledger = Ledger(
        read=given if planned.moved else read,
        kept=kept_documents,
        dropped=dict(sorted(Counter(dropped.column("reason").to_pylist()).items())),
        kept_bytes=kept_bytes,
        kept_tokens=sum(entry.tokens for entry in entries),
        repaired=repaired,
        unreadable=tuple(unreadable),
    )
    stratum = Stratum(
        id=planned.id,
        name=planned.name,
        tokenizer=sealed.digest,
        vocab_size=sealed.vocab_size,
        ledger=ledger,
        shards=tuple(entries),
        made_from=planned.made_from,
    )
    return strata.publish(planned.folder, stratum)


def _count(folder: str, name: str, sealed: Seal) -> tuple[ShardEntry, int]:
    """What a published shard holds, counted by opening it again; and its bytes of text."""
    shard = shards.open_shard(join(folder, name))
    assert shard.meta.tokenizer == sealed.digest, name
    lengths = shard.lengths
    rows = {c: ContextRows(**asdict(count_rows(lengths, c))) for c in CONTEXTS}
    entry = ShardEntry(name=name, documents=int(lengths.size), tokens=int(lengths.sum()), rows=rows)
    return entry, pc.sum(shard.table.column("num_bytes")).as_py() or 0
