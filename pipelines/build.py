"""Build: raw text -> committed strata. Map, decide, reduce, publish; what exists is reused.

    files --map--> spills --decide--> duplicates, held-out --reduce--> shards --publish--> stratum

One run covers all strata of a build. Whatever is interrupted goes on where it was: spills, shards
and strata are found again by content.
"""

from __future__ import annotations

import uuid

from datatrove.pipeline.base import PipelineStep

from pipelines import spill as spills
from pipelines.build_plan import BuildPlan, OriginPlan
from pipelines.decision import Decision, SpillRef
from pipelines.executor import execute
from pipelines.gather import Gather, GatherShard
from pipelines.grade import Grade
from pipelines.map import ReadFiles, Tokenise, WriteSpills, share_out
from pipelines.publish import PlannedStratum, publish_all
from pipelines.screen import Screen
from schemas.profile import HERE, IN_PROCESS, Beam, Workers
from schemas.progress import Progress, silent
from schemas.recipe import Recipe
from schemas.seal import Seal
from schemas.shard import TOKENS_PER_SHARD, ShardMeta
from schemas.store import Store, join
from schemas.stratum import HELDOUT, Stratum

TASKS_EACH = 8  # of a worker: the last ones to end leave little to wait for
DOCUMENTS_PER_SHARD = 500_000  # whose metadata is held while a shard is made


def build(
    recipe: Recipe,
    store: Store,
    sealed: Seal,
    plan: BuildPlan,
    workers: Workers = HERE,
    beam: Beam = IN_PROCESS,
    progress: Progress = silent,
) -> tuple[Stratum, ...]:
    """Build what the plan lacks; returns every stratum of the recipe, reused ones included.

    Raises UserError for a full disk and the like, LedgerError if a ledger does not close. Either
    way the next run goes on with what was finished.
    """
    if not plan.to_build:
        return plan.reused
    from pipelines.decide import decide  # Beam takes a second to import

    _map(recipe, store, sealed, plan, workers, progress)
    scratch = join(store.url, "spills", f"decide-{uuid.uuid4().hex[:8]}")
    progress("duplicates and held-out text", 0, 1)
    refs = {id(p): _refs(p) for p in plan.to_build}
    try:
        rows = [ref for group in refs.values() for ref in group]
        decisions = decide(rows, recipe.heldout, scratch, beam)
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
    _gather(items, workers, store, progress)
    built = publish_all(gathered, sealed, progress)
    return (*plan.reused, *built)


def _map(
    recipe: Recipe,
    store: Store,
    sealed: Seal,
    plan: BuildPlan,
    workers: Workers,
    progress: Progress,
) -> None:
    missing = [f for p in plan.to_build for f in p.files if spills.load(f.folder) is None]
    if not missing:
        return
    tasks = share_out(missing, min(len(missing), TASKS_EACH * workers.count))
    steps: list[PipelineStep] = [
        ReadFiles(tasks),
        Screen(),
        *([Grade()] if any(file.probe for file in missing) else []),
        Tokenise(store, sealed),
        WriteSpills(recipe.seed),
    ]
    execute(steps, len(tasks), workers, store, "read, filter, tokenise", progress)


def _refs(plan: OriginPlan) -> tuple[SpillRef, ...]:
    origin = f"{plan.origin.source}/{plan.origin.language}"
    return tuple(
        SpillRef(origin, f.folder, f.file_index, f.file.split, f.grouped, plan.bounds)
        for f in plan.files
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
    tier = plan.strata.index(planned)
    if heldout and plan.grouped:
        if not decision.held_out:
            return []
        tokens = 1  # at most 500 documents
    elif heldout:
        tokens = decision.tokens_of("test")
    else:
        tokens = decision.tokens.get(("train", tier), 0)
        if tier == 0 and not tokens:
            tokens = min(1, decision.tokens_of("train"))  # it says what became of the other tiers'
    num_shards = -(-tokens // TOKENS_PER_SHARD)
    if num_shards and tier == 0 and not heldout:  # it lists what became of all others, too
        num_shards = max(num_shards, -(-decision.documents_of("train") // DOCUMENTS_PER_SHARD))
    meta = ShardMeta(sealed.digest, sealed.vocab_size, str(planned.name))
    return [
        GatherShard(
            name=planned.name,
            tier=tier,
            tiers=tuple(p.name.tier for p in plan.strata if p.name.tier != HELDOUT),
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


def _gather(items: list[GatherShard], workers: Workers, store: Store, progress: Progress) -> None:
    if not items:
        return
    num_tasks = min(len(items), TASKS_EACH * workers.count)
    # Neighbours go to different tasks, so that the shards of one large stratum are spread out.
    tasks = [items[rank::num_tasks] for rank in range(num_tasks)]
    execute([Gather(tasks)], num_tasks, workers, store, "gather shards", progress)
