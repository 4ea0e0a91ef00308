"""Build: raw text -> committed strata. Map, decide, reduce, publish; what exists is reused.

    files --map--> spills --decide--> duplicates, held-out --reduce--> shards --publish--> stratum

One run covers all strata of a build. Whatever is interrupted goes on where it was: spills, shards
and strata are found again by content.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pipelines import spill as spills
from pipelines.decision import NO_THRESHOLD, Decision, SpillRef
from pipelines.executor import execute
from pipelines.fingerprint import fingerprints
from pipelines.gather import Gather, GatherShard
from pipelines.imported import choose, require_imported
from pipelines.inventory import Origin, wanted
from pipelines.map import MapFile, ReadFiles, Screen, Tokenise, WriteSpills, share_out
from pipelines.publish import PlannedStratum, publish_all
from schemas import stratum as strata
from schemas.digest import Json, content_id
from schemas.progress import Progress, silent
from schemas.recipe import Recipe
from schemas.seal import Seal
from schemas.shard import TOKENS_PER_SHARD, ShardMeta
from schemas.store import Store, join
from schemas.stratum import HELDOUT, TRAIN, Stratum, StratumName

STEP_VERSION = 3  # of map, decide and reduce; bumped when what they make of a file changes


@dataclass(frozen=True)
class OriginPlan:
    """An origin with the ids of all that its files decide."""

    origin: Origin
    files: tuple[MapFile, ...]
    strata: tuple[PlannedStratum, ...]  # training and held-out

    @property
    def grouped(self) -> bool:
        return is_grouped(self.origin)


@dataclass(frozen=True)
class BuildPlan:
    """What a build would do: strata that exist, and origins whose strata do not."""

    reused: tuple[Stratum, ...]
    to_build: tuple[OriginPlan, ...]

    @property
    def num_bytes(self) -> int:
        """Of raw files that must be read."""
        return sum(plan.origin.size_bytes for plan in self.to_build)


def is_grouped(origin: Origin) -> bool:
    """Whether held-out text must be chosen, since the source ships no test split."""
    return not any(file.split == "test" for file in origin.files)


@cache  # the metadata of a library takes a millisecond to read, and every origin asks
def versions() -> dict[str, Json]:
    """Everything beside the recipe that decides bytes: the libraries that touch text and files."""
    return {"step": STEP_VERSION} | {
        name: version(name) for name in ("tokenizers", "ftfy", "pyarrow", "regex", "xxhash")
    }


def plan_build(recipe: Recipe, store: Store, sealed: Seal, origins: Sequence[Origin]) -> BuildPlan:
    """Which strata exist and which origins must be built; reads no text, hashes new files.

    Imported strata exist; UserError when a source has none, or two of one tier.
    """
    origins = wanted(recipe, origins)
    require_imported(recipe, store, origins, sealed)
    digests = fingerprints(store, (f for o in origins for f in o.files))
    reused: list[Stratum] = []
    to_build: list[OriginPlan] = []
    for origin in origins:
        if origin.imported:
            reused += choose(origin, sealed)
            continue
        plan = _plan_origin(recipe, store, sealed, origin, digests)
        found = [s for planned in plan.strata if (s := strata.load(planned.folder)) is not None]
        if len(found) == len(plan.strata):
            reused += found
        else:
            to_build.append(plan)
    return BuildPlan(tuple(reused), tuple(to_build))


def _plan_origin(
    recipe: Recipe, store: Store, sealed: Seal, origin: Origin, digests: dict[str, str]
) -> OriginPlan:
    source = recipe.sources[origin.source.split("/")[0]]
    grouped = is_grouped(origin)
    shared: dict[str, Json] = {
        "source": origin.source,
        "language": origin.language,
        "format": source.format,
        "min_score": source.min_score,
        "filters": recipe.filters.model_dump(mode="json"),
        "seed": recipe.seed,
        "tokenizer": sealed.digest,
        "versions": versions(),
        "grouped": grouped,
    }
    if source.format == "documents":
        shared["fields"] = source.fields.model_dump(mode="json")
    files = []
    for index, file in enumerate(origin.files):
        identity = content_id(shared | {"file": file.relative, "digest": digests[file.url]})
        files.append(
            MapFile(
                file=file,
                file_index=index,
                source=origin.source,
                layout=source.format,
                fields=source.fields,
                language=origin.language,
                min_score=source.min_score,
                grouped=grouped and file.split == "train",
                spill_id=identity,
                folder=join(store.url, "spills", identity),
            )
        )
    chosen = ("share", "max_documents", "min_stratum_documents")
    made_from = shared | {
        "files": [[f.relative, f.split, digests[f.url]] for f in origin.files],
        "heldout": {key: getattr(recipe.heldout, key) for key in chosen} if grouped else None,
    }
    to_read: dict[str, str | int | float | bool | None] = {
        "files": content_id(made_from["files"]),
        "num_files": len(origin.files),
        "filters": content_id(shared["filters"]),
        "versions": content_id(shared["versions"]),
        "tokenizer": sealed.digest,
        "seed": recipe.seed,
        "min_score": source.min_score,
        "licence": source.licence,
    }
    if "fields" in shared:
        to_read["fields"] = content_id(shared["fields"])
    planned = []
    tiers = [TRAIN] if any(f.split == "train" for f in origin.files) else []
    for tier in [*tiers, HELDOUT]:
        name = StratumName(source=origin.source, language=origin.language, tier=tier)
        identity = strata.stratum_id(name, made_from)
        planned.append(
            PlannedStratum(
                name=name,
                id=identity,
                folder=strata.stratum_folder(store, name, identity),
                scratch=join(store.url, "spills", f"gather-{identity}"),
                made_from=to_read,
            )
        )
    return OriginPlan(origin, tuple(files), tuple(planned))


def build(
    recipe: Recipe,
    store: Store,
    sealed: Seal,
    plan: BuildPlan,
    workers: int = 2,
    progress: Progress = silent,
) -> tuple[Stratum, ...]:
    """Build what the plan lacks; returns every stratum of the recipe, reused ones included.

    Raises UserError for a full disk and the like, LedgerError if a ledger does not close. Either
    way the next run goes on with what was finished.
    """
    if not plan.to_build:
        return plan.reused
    from pipelines.decide import decide  # Beam takes a second to import

    with tempfile.TemporaryDirectory(prefix="mmbert-build-") as logs:
        _map(recipe, store, sealed, plan, workers, Path(logs), progress)
        scratch = join(store.url, "spills", f"decide-{uuid.uuid4().hex[:8]}")
        progress("duplicates and held-out text", 0, 1)
        refs = {id(p): _refs(p) for p in plan.to_build}
        try:
            rows = [ref for group in refs.values() for ref in group]
            decisions = decide(rows, recipe.heldout, scratch)
        finally:
            store.remove(scratch)
        progress("duplicates and held-out text", 1, 1)
        gathered = [
            [
                (planned, refs[id(p)], gather_items(p, planned, refs[id(p)], decisions, sealed))
                for planned in p.strata
            ]
            for p in plan.to_build
        ]
        items = [item for origin in gathered for *_, group in origin for item in group]
        _gather(items, workers, Path(logs), progress)
        built = publish_all(gathered, sealed, progress)
    return (*plan.reused, *built)


def _map(
    recipe: Recipe,
    store: Store,
    sealed: Seal,
    plan: BuildPlan,
    workers: int,
    logs: Path,
    progress: Progress,
) -> None:
    missing = [f for p in plan.to_build for f in p.files if spills.load(f.folder) is None]
    if not missing:
        return
    tasks = share_out(missing, min(len(missing), 8 * workers))
    steps = [
        ReadFiles(tasks),
        Screen(recipe.filters),
        Tokenise(store, sealed),
        WriteSpills(recipe.seed),
    ]
    execute(steps, len(tasks), workers, logs / "map", "read, filter, tokenise", progress)


def _refs(plan: OriginPlan) -> tuple[SpillRef, ...]:
    origin = f"{plan.origin.source}/{plan.origin.language}"
    return tuple(
        SpillRef(origin, f.folder, f.file_index, f.file.split, f.grouped) for f in plan.files
    )


def gather_items(
    plan: OriginPlan,
    planned: PlannedStratum,
    refs: tuple[SpillRef, ...],
    decisions: dict[str, Decision],
    sealed: Seal,
) -> list[GatherShard]:
    """The shards that a stratum is made of: S = ceil(tokens / 16 M), by key range."""
    decision = decisions[f"{plan.origin.source}/{plan.origin.language}"]
    heldout = planned.name.tier == HELDOUT
    if heldout and plan.grouped:
        if decision.threshold == NO_THRESHOLD:
            return []
        tokens = 1  # at most 500 documents
    else:
        tokens = decision.tokens.get("test" if heldout else "train", 0)
    num_shards = -(-tokens // TOKENS_PER_SHARD)
    meta = ShardMeta(sealed.digest, sealed.vocab_size, str(planned.name))
    return [
        GatherShard(
            name=planned.name,
            folder=planned.folder,
            index=index,
            num_shards=num_shards,
            spills=refs,
            files=tuple(f.file.relative for f in plan.files),
            decision=decision,
            meta=meta,
            scratch=planned.scratch,
        )
        for index in range(num_shards)
    ]


def _gather(items: list[GatherShard], workers: int, logs: Path, progress: Progress) -> None:
    if not items:
        return
    num_tasks = min(len(items), 8 * workers)
    # Neighbours go to different tasks, so that the shards of one large stratum are spread out.
    tasks = [items[rank::num_tasks] for rank in range(num_tasks)]
    execute([Gather(tasks)], num_tasks, workers, logs / "gather", "gather shards", progress)
