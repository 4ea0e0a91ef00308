"""Manifests: from committed strata and a recipe's phase to what the trainer delivers.

    tokens T and rows R of each stratum at the phase's context, exclusions taken off
    -> targets q of the strata (pipelines/mixture.py) -> row quotas K, and their knots where weights
       change inside the phase (pipelines/knots.py)

No token is read or written here: a new mixture is a new file of some hundred kilobytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.exclude import exclusion_lists, rows_excluded
from pipelines.knots import knot_windows, rows_before
from pipelines.language_shares import languages_of
from pipelines.mixture import Part, absent, mean_of, read_by, share_out_steps
from pipelines.weights import quota
from schemas import catalogue as catalogues
from schemas import exclusions
from schemas import manifest as manifests
from schemas.catalogue import COUNTS, Catalogue, NewestBuild
from schemas.errors import UserError
from schemas.find_manifest import MAIN
from schemas.ledger import total as total_ledger
from schemas.manifest import SHARDS, Manifest, StratumShare
from schemas.recipe import Recipe
from schemas.rows import I64, RowCount
from schemas.seal import Seal
from schemas.store import Store, exists
from schemas.stratum import Stratum


class Decided(NamedTuple):
    """A manifest before it is published, with the tables that lie beside it."""

    manifest: Manifest
    shards: pa.Table  # SHARDS schema
    excluded: tuple[pa.Table, ...]  # exclusions.ROWS


class Mixed(NamedTuple):
    """A manifest with the table that lies beside it, and its strata as they were weighed."""

    manifest: Manifest
    shards: pa.Table  # SHARDS schema
    parts: tuple[Part, ...]


def make_manifests(
    recipe: Recipe, store: Store, sealed: Seal, strata: Sequence[Stratum]
) -> dict[str, tuple[Manifest, str]]:
    """The manifest of every phase, in the store under its id and named "main"; and its URL.

    No manifest is published before all can be met. What the strata hold is written down, so that
    `mmbert remix` needs neither them nor the text.
    """
    catalogue = catalogues.catalogue_of(strata)
    # First, since another mixture of these strata may be met where this one cannot.
    NewestBuild(recipe, catalogues.save(store, catalogue)).save(store)
    decided = decide_manifests(recipe, store, sealed, catalogue)
    return {
        name: (made.manifest, publish_manifest(store, made, MAIN)) for name, made in decided.items()
    }


def make_manifest(
    recipe: Recipe, phase_name: str, store: Store, sealed: Seal, strata: Sequence[Stratum]
) -> tuple[Manifest, str]:
    """The manifest of one phase, as `make_manifests`."""
    alone = recipe.model_copy(update={"phases": {phase_name: recipe.phases[phase_name]}})
    return make_manifests(alone, store, sealed, strata)[phase_name]


def publish_manifest(store: Store, decided: Decided, name: str | None) -> str:
    """Put a manifest into the store, unless it is there, and name it; returns its URL."""
    manifest, shards, excluded = decided
    url = manifests.url_of(store, manifest)
    if not exists(url):
        for table in excluded:
            exclusions.save(store, table)
        manifests.publish(store, manifest, shards)
    if name is not None:
        manifests.name_manifest(store, manifest, name)
    return url


def decide_manifests(
    recipe: Recipe, store: Store, sealed: Seal, catalogue: Catalogue
) -> dict[str, Decided]:
    """The manifest of every phase; UserError that says of all of them what cannot be met."""
    made: dict[str, Decided] = {}
    wrong: list[str] = []
    for name in recipe.phases:
        try:
            made[name] = decide_manifest(recipe, name, store, sealed, catalogue)
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        raise UserError("; and ".join(dict.fromkeys(wrong)))
    return made


def decide_manifest(
    recipe: Recipe, phase_name: str, store: Store, sealed: Seal, catalogue: Catalogue
) -> Decided:
    """The manifest of a phase over committed strata; publishes nothing.

    Raises UserError for a pool that languages and caps cannot fill, a language set of which no
    member is present, and, in strict phases, for absent members.
    """
    shares = read_by(phase_name, recipe.phases[phase_name], catalogue)
    excluded = exclusion_lists(recipe, store, sealed, catalogue, shares)
    mixed = mix(recipe, phase_name, store, sealed, catalogue, shares, excluded)
    return Decided(mixed.manifest, mixed.shards, excluded)


def mix(
    recipe: Recipe,
    phase_name: str,
    store: Store,
    sealed: Seal,
    catalogue: Catalogue,
    shares: Mapping[int, str],
    excluded: Sequence[pa.Table],
    windows: int | None = None,
) -> Mixed:
    """The manifest of a phase without the documents of some lists (exclusions.ROWS).

    `shares` as `read_by` gives them; `windows` where their number is given. Raises as
    `decide_manifest` does.
    """
    phase = recipe.phases[phase_name]
    counts = _count_shards(catalogue, phase.context, excluded)
    places, parts = _parts(catalogue, shares, counts)
    if not parts:
        raise UserError(
            f"phases.{phase_name}: no source has text for it; check its languages and shares, "
            "or point its sources at more text"
        )
    steps = share_out_steps(phase, f"phases.{phase_name}", parts)
    targets = mean_of(steps)
    rows = [
        quota(q, p.count.rows, p.count.tokens, phase.budget_tokens, phase.pool_tokens)
        for p, q in zip(parts, targets, strict=True)
    ]
    windows = windows or _num_windows(recipe, parts, rows)
    knots = knot_windows(len(steps), windows)
    read = [catalogue.strata[place] for place in places]
    manifest = Manifest(
        recipe=recipe.name,
        phase=phase_name,
        seed=recipe.seed,
        tokenizer=sealed.digest,
        vocab_size=sealed.vocab_size,
        context=phase.context,
        mask_rate=phase.mask_rate,
        tau=phase.tau,
        tau_end=phase.tau_end,
        max_epochs=phase.max_epochs,
        min_tokens=phase.min_tokens,
        weight_by=phase.weight_by,
        pool_tokens=phase.pool_tokens,
        budget_tokens=phase.budget_tokens,
        packing=recipe.packing,
        windows=windows,
        knots=knots,
        languages=languages_of(parts, targets, rows, phase.pool_tokens),
        strata=tuple(
            StratumShare(
                id=listed.id,
                folder=store.relative(listed.folder(store)),
                source=listed.name.source,
                language=listed.name.language,
                tier=listed.name.tier,
                rows_available=p.count.rows,
                tokens_available=p.count.tokens,
                target_tokens=q,
                rows=k,
                knots=tuple(rows_before(w, windows, k, own) for w in knots),
            )
            for listed, p, q, k, own in zip(
                read, parts, targets, rows, zip(*steps, strict=True), strict=True
            )
        ),
        absent=absent(phase_name, phase, catalogue, parts),
        exclusions=tuple(exclusions.ref_of(table) for table in excluded),
        ledger=total_ledger(listed.ledger for listed in read),
    ).sealed()
    return Mixed(manifest, _shard_table(catalogue, places, counts, manifest), tuple(parts))


def _count_shards(
    catalogue: Catalogue, context: int, excluded: Sequence[pa.Table]
) -> dict[str, I64]:
    """Rows, tokens and squared tokens of every shard, the excluded documents taken off."""
    counts = {n: catalogue.shards.column(f"{n}_{context}").to_numpy().copy() for n in COUNTS}
    gone = rows_excluded(excluded, context)
    if gone:
        digests = pa.array([*gone], pa.string())
        places = pc.index_in(digests, catalogue.shards.column("digest").combine_chunks())
        for place, count in zip(places.to_pylist(), gone.values(), strict=True):
            counts["rows"][place] -= count.rows
            counts["tokens"][place] -= count.tokens
            counts["squared"][place] -= count.tokens_squared
    return counts


def _parts(
    catalogue: Catalogue, shares: Mapping[int, str], counts: Mapping[str, I64]
) -> tuple[list[int], list[Part]]:
    """What is read and holds anything: places in the catalogue, and the parts at them."""
    sums = {
        name: np.diff(np.concatenate([[0], np.cumsum(count)])[catalogue.bounds]).tolist()
        for name, count in counts.items()
    }
    places = [place for place in sorted(shares) if sums["rows"][place]]
    parts = [
        Part(
            catalogue.strata[place].name,
            shares[place],
            RowCount(sums["rows"][place], sums["tokens"][place], 0, sums["squared"][place]),
        )
        for place in places
    ]
    return places, parts


def _num_windows(recipe: Recipe, parts: Sequence[Part], rows: Sequence[int]) -> int:
    tokens = sum(k * p.count.tokens / p.count.rows for p, k in zip(parts, rows, strict=True))
    return max(1, round(tokens / (recipe.packing.window_packs * recipe.packing.pack_tokens)))


def _shard_table(
    catalogue: Catalogue, places: Sequence[int], counts: Mapping[str, I64], manifest: Manifest
) -> pa.Table:
    """The shards (SHARDS) of the strata of a manifest, which lie at `places` in the catalogue."""
    starts, ends = catalogue.bounds[places], catalogue.bounds[np.array(places) + 1]
    spans = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
    rows = np.concatenate(spans)
    shards = catalogue.shards.select(["name", "digest", "documents"]).take(rows)
    index = np.repeat(np.arange(len(places), dtype=np.int32), ends - starts)
    folders = pa.array([share.folder for share in manifest.strata]).take(pa.array(index))
    columns = {
        "stratum": index,
        "url": pc.binary_join_element_wise(folders, shards.column("name").combine_chunks(), "/"),
        "digest": shards.column("digest"),
        "documents": shards.column("documents"),
        "rows": counts["rows"][rows],
        "tokens": counts["tokens"][rows],
    }
    return pa.table(columns, SHARDS)
