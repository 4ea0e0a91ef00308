"""A remix at full breadth: 1,833 languages and 100,000 shards, of which no token exists.

The store is made up: a catalogue of strata as a build would write it, sizes falling as a power of
the rank, with some duplicates between sources. Timed: the command in a process of its own, beside
a process that only imports what it imports; and the work itself, in one process.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from flows.job import Job
from pipelines.duplicates import GROUPS
from pipelines.manifests import decide_manifest, publish_manifest
from pipelines.remix import decide_remix
from schemas import catalogue as catalogues
from schemas.catalogue import COUNTS, SHARDS, Catalogue, Listed, NewestBuild
from schemas.digest import content_id, sha256
from schemas.find_manifest import MAIN
from schemas.language import by_subset
from schemas.ledger import Ledger
from schemas.recipe import Recipe
from schemas.rows import CONTEXTS
from schemas.seal import Seal, SpecialIds, seal_folder
from schemas.store import Store, join, write_bytes, write_json
from schemas.stratum import HELDOUT, TRAIN, StratumName
from tests.benchmarks.measure import Table, cpu_s

LANGUAGES = 1_833
SHARDS_IN_ALL = 100_000
DUPLICATES = 20_000
PHASE = "decay-all"
POOL = 100_000_000_000
SETTINGS = (f"phases.{PHASE}.pool_tokens={POOL}", f"phases.{PHASE}.budget_tokens={POOL}")
FLATTER = (*SETTINGS, f"phases.{PHASE}.tau=0.2")
REPEATS = 5


@dataclass(frozen=True)
class Timing:
    cpu_s: float
    wall_s: float


def run(full: bool) -> list[Table]:
    """`full` repeats more often."""
    with tempfile.TemporaryDirectory(prefix="mmbert-remix-") as folder:
        job = Job(recipe="tiny", overrides=SETTINGS, store=folder, phase=PHASE)
        strata, shards = write_store(job.load(), job.at())
        rows = _measure(folder, REPEATS * (3 if full else 1))
    return [
        Table(
            f"A remix of {strata:,} strata with {shards:,} shards",
            ("", "CPU-s", "wall s"),
            tuple((name, timing.cpu_s, timing.wall_s) for name, timing in rows.items()),
            (
                "medians of turns taken side by side; the goal is 1 s beyond the imports",
                "imports: a process that imports what the command does, and ends; pandas is among "
                "it, which pyarrow imports for its first array wherever it is installed",
                "decided and published: in one process, from the catalogue to the manifest",
            ),
        )
    ]


def _measure(folder: str, repeats: int) -> dict[str, Timing]:
    settings = [part for text in FLATTER for part in ("--set", text)]
    options = ["--phase", PHASE, "--store", folder, "--name", "flatter", *settings]
    start = "from flows.cli import console_script; console_script()"
    command = ["-c", start, "remix", "tiny", *options]
    imports = [
        "-c",
        "import flows.cli, flows.console, flows.job, flows.mixture_commands, flows.named_mixtures,"
        "pipelines.difference, pipelines.manifests, pipelines.remix, pandas",
    ]
    job = Job(recipe="tiny", overrides=FLATTER, store=folder, phase=PHASE)
    found: dict[str, list[Timing]] = {"imports": [], "mmbert remix": [], "decided, published": []}
    for arguments in (imports, command):
        _timed(arguments, folder)  # compiles what it imports
    for _ in range(repeats):
        found["imports"].append(_timed(imports, folder))
        found["mmbert remix"].append(_timed(command, folder))
        begun, clock = cpu_s(), time.perf_counter()
        decided = decide_remix(job.load(), PHASE, job.at(), "mmbert data tiny")
        publish_manifest(job.at(), decided, "flatter")
        found["decided, published"].append(Timing(cpu_s() - begun, time.perf_counter() - clock))
    medians = {name: _median(timings) for name, timings in found.items()}
    whole, before = medians["mmbert remix"], medians["imports"]
    beyond = Timing(whole.cpu_s - before.cpu_s, whole.wall_s - before.wall_s)
    return medians | {"beyond the imports": beyond}


def _median(timings: Sequence[Timing]) -> Timing:
    cpu, wall = ([getattr(t, name) for t in timings] for name in ("cpu_s", "wall_s"))
    return Timing(float(np.median(cpu)), float(np.median(wall)))


def _timed(arguments: Sequence[str], folder: str) -> Timing:
    """A process with its modules compiled, as they are after the first time."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": join(folder, "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begun, clock = cpu_s(), time.perf_counter()
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return Timing(cpu_s() - begun, time.perf_counter() - clock)


def write_store(recipe: Recipe, store: Store) -> tuple[int, int]:
    """A store that `remix` can work on, with a manifest named main; strata and shards of it."""
    sealed = _seal(store)
    catalogue = _catalogue(sealed)
    NewestBuild(recipe, catalogues.save(store, catalogue)).save(store)
    _write_groups(store, catalogue, recipe)
    publish_manifest(store, decide_manifest(recipe, PHASE, store, sealed, catalogue), MAIN)
    return len(catalogue.strata), catalogue.shards.num_rows


def _seal(store: Store) -> Seal:
    sealed = Seal(
        digest=sha256(b"the tokenizer of the benchmark"),
        vocab_size=256_000,
        special=SpecialIds(),
        prefix_space=False,
        origin="benchmark",
    )
    write_json(join(seal_folder(store.url, sealed.digest), "seal.json"), sealed.model_dump())
    return sealed


def _catalogue(sealed: Seal) -> Catalogue:
    """FineWeb2's subsets, English twice; the largest has some ten thousand shards."""
    codes: dict[str, str] = {}
    for subset, row in by_subset().items():
        codes.setdefault(row.code, subset)
    named = [("fineweb2", subset) for subset in [*codes.values()][:LANGUAGES]]
    named += [("dclm", "eng_Latn"), ("dolmino/math", "eng_Latn")]
    weight = 1.0 / np.arange(3, len(named) + 3)
    counts = 1 + np.floor((SHARDS_IN_ALL - len(named)) * weight / weight.sum()).astype(int)
    listed = sorted(
        (
            (StratumName(source=source, language=language, tier=tier), number)
            for (source, language), number in zip(named, counts.tolist(), strict=True)
            for tier, number in ((TRAIN, number), (HELDOUT, 1))
        ),
        key=lambda pair: str(pair[0]),
    )
    ledger = Ledger(read=1_000, kept=900, dropped={"length": 60, "exact_duplicate": 40})
    strata = tuple(
        Listed(content_id(str(name)), name, sealed.digest, sealed.vocab_size, ledger)
        for name, _ in listed
    )
    numbers = [number for _, number in listed]
    stratum = np.repeat(np.arange(len(listed)), numbers)
    draw = np.random.default_rng(0)
    documents = draw.integers(20_000, 40_000, stratum.size)
    digests = [sha256(str(place).encode())[:16] for place in range(stratum.size)]
    names = [f"shard-{p:05d}-of-{stratum.size:05d}-{d}.arrow" for p, d in enumerate(digests)]
    columns: dict[str, Sequence[str] | np.ndarray] = {
        "stratum": stratum,
        "name": names,
        "digest": digests,
        "documents": documents,
    }
    tokens = documents * 450
    for context in CONTEXTS:
        rows = documents + tokens // context
        for count, values in zip(COUNTS, (rows, tokens + 2 * rows, tokens * context), strict=True):
            columns[f"{count}_{context}"] = values
    return Catalogue(strata, pa.table(columns, SHARDS))


def _write_groups(store: Store, catalogue: Catalogue, recipe: Recipe) -> None:
    """What a build has remembered of equal texts, under the name that it would look for."""
    draw = np.random.default_rng(1)
    chosen = draw.choice(catalogue.shards.num_rows, 2 * DUPLICATES)
    shards = catalogue.shards.take(chosen)
    texts = np.repeat(np.arange(DUPLICATES), 2)
    table = pa.table(
        {
            "text_hash": [f"{text:032x}" for text in texts],
            "held_out": [False] * texts.size,
            "source_rank": [0] * texts.size,
            "key": draw.integers(0, 2**63, texts.size).astype(np.uint64),
            "stratum": [catalogue.strata[p].id for p in shards.column("stratum").to_pylist()],
            "shard": shards.column("digest"),
            "document": np.arange(texts.size),
            "num_tokens": draw.integers(50, 1_000, texts.size),
            "doc_id": [f"made:{place}" for place in range(texts.size)],
        },
        GROUPS,
    )
    identity = content_id([sorted(s.id for s in catalogue.strata), list(recipe.sources)])
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(join(store.url, "exclusions", f"groups-{identity}.parquet"), sink.getvalue())
