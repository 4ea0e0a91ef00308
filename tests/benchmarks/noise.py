"""What the filters catch of known noise, and which clean documents they lose.

    python -m tests.benchmarks noise [--corpus DIR]

A corpus in the layout of `mmbert sample`, whose `injected.csv` lists the noise that was put in:
source, id, kind, ref_id (the document that it was made of). It is built with all filters, then each
document's fate is read from the shards and the tables of drops.

    recall     injected documents of a kind that are not kept as they came: dropped, or repaired;
               of a pair of duplicates, at most one is kept
    precision  injected documents among all that are dropped for a reason
    lost       clean documents that are dropped, but for copies of documents that are kept
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import xxhash

from pipelines.build import build
from pipelines.build_plan import plan_build
from pipelines.inventory import inventory, wanted
from pipelines.read import reader_of
from pipelines.record import FileRead
from pipelines.sample import write_sample
from pipelines.tokenizer import prepare
from schemas.profile import Workers
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe
from schemas.shard import open_shard
from schemas.store import Store, join, read_bytes
from schemas.stratum import stratum_folder
from schemas.text import Filters
from tests.benchmarks.measure import Table

RECIPES = Path(__file__).parents[2] / "flows" / "recipes"
COPIES = frozenset({"exact_duplicate", "near_duplicate", "in_heldout", "near_heldout"})
PAIRS = frozenset({"exact_dup", "near_dup"})
MIN_CLEAN = 30  # documents of a script that a share is told of

Name = tuple[str, str]  # source, native id


@dataclass(frozen=True)
class Fate:
    """What became of a document; `kind` of its noise is "" where it is clean."""

    kind: str
    of: Name | None  # what it was made of
    script: str
    reason: str  # of its drop; "" while it is kept
    repaired: bool


def run(corpus: Path | None = None, workers: int = 2) -> list[Table]:
    """Scores a corpus, or a sample of 60 languages."""
    with tempfile.TemporaryDirectory(prefix="mmbert-noise-") as scratch:
        folder = corpus or Path(scratch) / "sample"
        if corpus is None:
            write_sample(folder, languages=60, megabytes=12.0)
        found = fates(folder, Store.at(f"{scratch}/store"), workers)
    return [by_kind(found), by_reason(found), by_script(found)]


def noise_recipe(corpus: Path) -> Recipe:
    """`tiny` on a corpus, with every filter there is."""
    sources = [f"sources.{name}.path={corpus / name}" for name in ("fineweb2", "dclm", "dolmino")]
    recipe = load_recipe("tiny", sources, RECIPES)
    use = (*dict.fromkeys((*Filters().use, "language", "near_duplicate")),)
    filters = Filters.model_validate({**recipe.filters.model_dump(), "use": use})
    return recipe.model_copy(update={"filters": filters})


def fates(corpus: Path, store: Store, workers: int = 1) -> dict[Name, Fate]:
    """Build a corpus; what became of each training document of the languages that `tiny` reads."""
    recipe = noise_recipe(corpus)
    origins = wanted(recipe, inventory(recipe))
    seal = prepare(recipe, store, origins)
    plan = plan_build(recipe, store, seal, origins)
    strata = build(recipe, store, seal, plan, Workers(workers=workers))
    dropped: dict[Name, str] = {}
    hashes: dict[Name, bytes] = {}
    for stratum in strata:
        place = stratum_folder(store, stratum.name, stratum.id)
        table = pq.read_table(io.BytesIO(read_bytes(join(place, "dropped.parquet"))))
        columns = (table.column(c).to_pylist() for c in ("doc_id", "reason"))
        for doc_id, reason in zip(*columns, strict=True):
            if reason != "held_out":  # it is kept, in another stratum
                dropped[_name(doc_id)] = reason
        for entry in stratum.shards:
            shard = open_shard(join(place, entry.name)).table
            columns = (shard.column(c).to_pylist() for c in ("doc_id", "text_hash"))
            pairs = zip(*columns, strict=True)
            hashes |= {_name(doc_id): text_hash for doc_id, text_hash in pairs}
    known = _injected(corpus)
    found: dict[Name, Fate] = {}
    for origin in origins:
        source = recipe.sources[origin.source.split("/")[0]]
        for file in origin.files:
            for record in reader_of(source.format, source.fields)(file, FileRead()):
                name = (origin.source.split("/")[0], record.native_id or "")
                if file.split == "test" or record.text is None:
                    continue
                kind, of = known.get(name, ("", None))
                raw = xxhash.xxh3_128_digest(record.text.encode())
                kept = hashes.get(name)
                reason = "" if kept else dropped.get(name, "lost without a word")
                script = origin.language.split("_")[1]
                found[name] = Fate(kind, of, script, reason, kept is not None and kept != raw)
    return found


def _name(doc_id: str) -> Name:
    source, _, native = doc_id.partition(":")
    return source.split("/")[0], native


def _injected(corpus: Path) -> dict[Name, tuple[str, Name | None]]:
    with (corpus / "injected.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        (row["source"], row["id"]): (
            row["kind"],
            (row["source"], row["ref_id"]) if row["ref_id"] else None,
        )
        for row in rows
    }


def caught(name: Name, found: Mapping[Name, Fate]) -> bool:
    """Whether an injected document is not kept as it came beside what it was made of."""
    fate = found[name]
    if fate.reason or fate.repaired:
        return True
    original = found.get(fate.of) if fate.of else None
    return fate.kind in PAIRS and original is not None and original.reason in COPIES


def lost(found: Mapping[Name, Fate]) -> dict[Name, Fate]:
    """Clean documents of which no copy stays."""
    return {n: f for n, f in found.items() if not f.kind and f.reason and f.reason not in COPIES}


def by_kind(found: Mapping[Name, Fate]) -> Table:
    rows = []
    for kind in sorted({fate.kind for fate in found.values()} - {""}):
        names = [name for name, fate in found.items() if fate.kind == kind]
        hits = sum(caught(name, found) for name in names)
        reasons = Counter(found[name].reason or "kept" for name in names)
        most = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(4))
        rows.append((kind, len(names), hits, hits / len(names), most))
    columns = ("noise", "documents", "caught", "recall", "what became of them")
    return Table("Noise that is caught", columns, tuple(rows))


def by_reason(found: Mapping[Name, Fate]) -> Table:
    reasons = Counter(fate.reason for fate in found.values() if fate.reason)
    clean = Counter(fate.reason for fate in found.values() if fate.reason and not fate.kind)
    rows = tuple(
        (reason, count, clean[reason], 1 - clean[reason] / count)
        for reason, count in reasons.most_common()
    )
    notes = ("a copy that is dropped may be the document that the injected one was made of",)
    return Table("Drops", ("reason", "documents", "clean", "precision"), rows, notes)


def by_script(found: Mapping[Name, Fate]) -> Table:
    clean = Counter(fate.script for fate in found.values() if not fate.kind)
    gone = Counter(fate.script for fate in lost(found).values())
    copies = Counter(
        fate.script for fate in found.values() if not fate.kind and fate.reason in COPIES
    )
    scripts = [script for script in clean if clean[script] >= MIN_CLEAN]
    scripts.sort(key=lambda script: -gone[script] / clean[script])
    rows = [("all", clean.total(), gone.total(), gone.total() / clean.total(), copies.total())]
    rows += [(s, clean[s], gone[s], gone[s] / clean[s], copies[s]) for s in scripts[:8]]
    columns = ("script", "clean documents", "lost", "share", "copies of kept ones")
    return Table("Clean documents that are lost", columns, tuple(rows))
