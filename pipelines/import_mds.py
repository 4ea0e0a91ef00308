"""Import: published pre-tokenised MDS shards -> a committed stratum, without tokenising again.

    MDS shards --spill--> decide, gather, publish, as for raw text --> stratum

Only the first step differs from a build (pipelines/mds_spill.py), so keys, order, duplicates and
the ledger are the same. Published chunks of a long document stay apart, each a document.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from importlib.metadata import version

from pipelines import mds
from pipelines import spill as spills
from pipelines.decision import SpillRef
from pipelines.executor import execute
from pipelines.fingerprint import fingerprints
from pipelines.gather import Gather, GatherShard
from pipelines.imported import LAYOUT
from pipelines.inventory import InputFile
from pipelines.mds_spill import SpillShard, SpillShards
from pipelines.publish import PlannedStratum, publish
from schemas import seal as seals
from schemas import stratum as strata
from schemas.digest import Json, content_id
from schemas.language import split_subset
from schemas.profile import HERE, Workers
from schemas.progress import Progress, silent
from schemas.recipe import HeldOut
from schemas.seal import Seal
from schemas.shard import TOKENS_PER_SHARD, ShardMeta
from schemas.store import Store, join
from schemas.stratum import HELDOUT, TRAIN, Stratum, StratumName
from schemas.token_bytes import token_bytes

IMPORT_VERSION = 1  # bumped when what is made of a shard changes


def import_mds(
    url: str,
    store: Store,
    sealed: Seal,
    name: StratumName,
    progress: Progress = silent,
    *,
    seed: int = 0,
    licence: str = "unknown",
    workers: Workers = HERE,
) -> Stratum:
    """The stratum of the shards in a folder, built unless the store has it.

    `sealed` lies in the store and must be the tokenizer the shards were made with; `seed` and
    `licence` are the recipe's. Raises UserError for another format, a missing file, or ids beyond
    the vocabulary.
    """
    split_subset(name.language)
    shards = mds.read_index(url)
    split = "test" if name.tier == HELDOUT else "train"
    files = [InputFile(s.url, s.relative, s.size_bytes, split) for s in shards]
    digests = fingerprints(store, files)
    shared: dict[str, Json] = {
        "layout": LAYOUT,
        "source": name.source,
        "seed": seed,
        "tokenizer": sealed.digest,
        "versions": {"import": IMPORT_VERSION, "pyarrow": version("pyarrow")},
    }
    made_of = [[file.relative, digests[file.url]] for file in files]
    identity = strata.stratum_id(name, {**shared, "files": made_of})
    planned = PlannedStratum(
        name=name,
        id=identity,
        folder=strata.stratum_folder(store, name, identity),
        scratch=join(store.url, "spills", f"gather-{identity}"),
        made_from={
            "layout": LAYOUT,
            "files": content_id(made_of),
            "num_files": len(made_of),
            "versions": content_id(shared["versions"]),
            "tokenizer": sealed.digest,
            "seed": seed,
            "licence": licence,
        },
    )
    found = strata.load(planned.folder)
    if found is not None:
        return found

    items = []
    for index, (shard, made) in enumerate(zip(shards, made_of, strict=True)):
        spill_id = content_id({**shared, "file": made})
        items.append(SpillShard(shard, index, spill_id, join(store.url, "spills", spill_id)))
    origin = f"{name.source}/{name.language}"
    refs = [SpillRef(origin, item.folder, item.file_index, split, False) for item in items]
    _spill_missing(items, store, sealed, name, seed, workers, progress)
    gathered = _gather(planned, refs, files, sealed, store, workers, progress)
    return publish(planned, refs, gathered, sealed, given=0)


def _spill_missing(
    items: Sequence[SpillShard],
    store: Store,
    sealed: Seal,
    name: StratumName,
    seed: int,
    workers: Workers,
    progress: Progress,
) -> None:
    missing = [item for item in items if spills.load(item.folder) is None]
    if not missing:
        return
    _, tokenizer_json = seals.load(seals.seal_folder(store.url, sealed.digest))
    num_tasks = min(len(missing), 8 * workers.count)
    tasks = [missing[rank::num_tasks] for rank in range(num_tasks)]
    step = SpillShards(tasks, name.source, sealed, token_bytes(tokenizer_json, sealed), seed)
    execute([step], num_tasks, workers, store, "read shards", progress)


def _gather(
    planned: PlannedStratum,
    refs: Sequence[SpillRef],
    files: Sequence[InputFile],
    sealed: Seal,
    store: Store,
    workers: Workers,
    progress: Progress,
) -> list[GatherShard]:
    from pipelines.decide import decide  # Beam takes a second to import

    progress("duplicates", 0, 1)
    scratch = join(store.url, "spills", f"decide-{uuid.uuid4().hex[:8]}")
    try:
        (decision,) = decide(refs, HeldOut(), scratch).values()
    finally:
        store.remove(scratch)
    num_tokens = decision.tokens_of(refs[0].split)
    num_shards = -(-num_tokens // TOKENS_PER_SHARD)
    items = [
        GatherShard(
            name=planned.name,
            tier=0,
            tiers=(TRAIN,),
            folder=planned.folder,
            index=index,
            num_shards=num_shards,
            spills=tuple(refs),
            files=tuple(file.relative for file in files),
            decision=decision,
            meta=ShardMeta(sealed.digest, sealed.vocab_size, str(planned.name)),
            scratch=planned.scratch,
        )
        for index in range(num_shards)
    ]
    if items:
        tasks = [[item] for item in items]
        execute([Gather(tasks)], len(tasks), workers, store, "gather shards", progress)
    return items
