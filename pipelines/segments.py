"""A segment: what a phase reads from a window on, while a run is in it.

    strata   those of the manifest before it, in their order, then new ones; shards likewise
    knots    K at window v is what was delivered before v (new strata: 0), so rows go on where they
             were: none repeats before all were seen. From there on a stratum gets what the new
             mixture would give it in the windows that are left; one that is read no more stays
             where it is
    lists    exclusions of before hold on; what else is to be left out becomes a hole from v on in
             the strata of before, and never was a row in new ones. So row numbers never move

What all windows of a phase share (context, mask rate, budget, packing) cannot change in it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.exclude import exclusion_lists, rows_excluded
from pipelines.language_shares import languages_of
from pipelines.manifests import Decided, Mixed, mix
from pipelines.mixture import Part, read_by
from pipelines.weights import apportion
from schemas import exclusions
from schemas import manifest as manifests
from schemas import stratum as strata
from schemas.catalogue import Catalogue
from schemas.errors import UserError
from schemas.ledger import Ledger
from schemas.ledger import total as total_ledger
from schemas.manifest import Continuation, Manifest, StratumShare
from schemas.recipe import Recipe
from schemas.rows import RowCount
from schemas.seal import Seal
from schemas.shard import digest_of
from schemas.store import Store
from schemas.stratum import StratumName


class Standing(NamedTuple):
    """Where a run stands in a phase: what planned it so far, and what comes next."""

    manifest: Manifest
    next_window: int
    delivered: list[int]  # rows of each stratum of the manifest before that window


# What a mixture does not decide, or what all windows of a phase share.
SAME = (
    "order_version",
    "seed",
    "tokenizer",
    "vocab_size",
    "context",
    "mask_rate",
    "budget_tokens",
    "packing",
)


def decide_segment(
    recipe: Recipe,
    phase_name: str,
    store: Store,
    sealed: Seal,
    catalogue: Catalogue,
    standing: Standing,
) -> Decided:
    """The manifest that goes on from where a run stands; publishes nothing.

    Raises UserError for settings that a segment cannot change, for strata that were built anew,
    and as `decide_manifest` does.
    """
    before, from_window, delivered = standing
    shards = manifests.load_shards(manifests.url_of(store, before))
    shares = read_by(phase_name, recipe.phases[phase_name], catalogue)
    found = exclusion_lists(recipe, store, sealed, catalogue, shares)
    held = {ref.id: exclusions.load(store, ref) for ref in before.exclusions}
    never = [held[ref.id] for ref in before.exclusions if not ref.from_window]
    of_new, holes = _split(found, shards.column("digest"), list(held.values()))
    lists = [*never, *of_new]
    mixed = mix(recipe, phase_name, store, sealed, catalogue, shares, lists, before.windows)
    _require_same(before, mixed.manifest)

    seam = Seam(before, mixed.manifest, from_window)
    after = dict(zip((s.id for s in mixed.manifest.strata), mixed.parts, strict=True))
    gone = rows_excluded(never, before.context)
    left = {s.id: _left(store, s, before.context, gone) for s in before.strata if s.id not in after}
    joined = seam.joined(delivered)
    parts = [after[share.id] if share.id in after else left[share.id][0] for share in joined]
    pool = mixed.manifest.pool_tokens
    targets = _targets(pool, joined)
    later = [
        exclusions.ref_of(table).model_copy(update={"from_window": from_window}) for table in holes
    ]
    manifest = mixed.manifest.model_copy(
        update={
            "knots": seam.knots,
            "continues": Continuation(manifest=before.id, from_window=from_window),
            "strata": tuple(
                share.model_copy(update={"target_tokens": q})
                for share, q in zip(joined, targets, strict=True)
            ),
            "languages": languages_of(parts, targets, [share.rows for share in joined], pool),
            "exclusions": (*before.exclusions, *map(exclusions.ref_of, of_new), *later),
            "ledger": total_ledger(
                [mixed.manifest.ledger, *(ledger for _, ledger in left.values())]
            ),
        }
    ).sealed()
    table = _shards(shards, mixed, manifest, len(before.strata))
    return Decided(manifest, table, (*of_new, *holes))


def _split(
    found: Sequence[pa.Table], shards: pa.ChunkedArray, held: Sequence[pa.Table]
) -> tuple[list[pa.Table], list[pa.Table]]:
    """Lists of documents in other shards than these, and in these but on no list before."""
    of_new, holes = [], []
    before = [table.select(["shard", "document"]) for table in held]
    for table in found:
        old = pc.is_in(table.column("shard"), shards.combine_chunks())
        of_new.append(table.filter(pc.invert(old)))
        mine = table.filter(old)
        if before:
            mine = mine.join(pa.concat_tables(before), ["shard", "document"], join_type="left anti")
        holes.append(mine.select(exclusions.ROWS.names))
    return [t for t in of_new if t.num_rows], [t for t in holes if t.num_rows]


def _require_same(before: Manifest, after: Manifest) -> None:
    where = f"phases.{before.phase}"
    for name in SAME:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            raise UserError(
                f"{where}: {name} is {old} in manifest {before.id}, which a run is in, and {new} "
                "now; take it back, since a segment changes what is read and nothing else"
            )
    known = {_name(share): share.id for share in before.strata}
    for share in after.strata:
        if known.get(_name(share), share.id) != share.id:
            raise UserError(
                f"{where}: {_name(share)} was built anew since manifest {before.id}, so which of "
                "its rows a run has seen cannot be told; bring its text and settings back, or "
                "begin the phase afresh with `mmbert train`"
            )


def _name(share: StratumShare) -> StratumName:
    return StratumName(source=share.source, language=share.language, tier=share.tier)


@dataclass(frozen=True)
class Seam:
    """Where the strata of two manifests of a phase meet."""

    before: Manifest
    after: Manifest
    window: int

    @property
    def knots(self) -> tuple[int, ...]:
        earlier = [window for window in self.before.knots if window < self.window]
        later = [window for window in self.after.knots if window > self.window]
        return (*earlier, *([self.window] if self.window else []), *later)

    def joined(self, delivered: Sequence[int]) -> list[StratumShare]:
        """The strata of both, those of before first, with `delivered` rows of each before."""
        new = {share.id: share for share in self.after.strata}
        joined = []
        for old, done in zip(self.before.strata, delivered, strict=True):
            earlier = [
                k for w, k in zip(self.before.knots, old.knots, strict=True) if w < self.window
            ]
            joined.append(self._join(earlier, done, old, new.pop(old.id, None)))
        nothing = [0 for window in self.before.knots if window < self.window]
        return joined + [self._join(nothing, 0, share, share) for share in new.values()]

    def _join(
        self, earlier: Sequence[int], done: int, old: StratumShare, new: StratumShare | None
    ) -> StratumShare:
        if new is None:
            later = [done for window in self.knots if window > self.window]
            rows = done
        else:
            skipped = self._rows_before(new)
            if not done:
                skipped = min(skipped, new.rows - 1)  # what is new is seen once at least
            numbers = zip(self.after.knots, new.knots, strict=True)
            later = [done + k - skipped for window, k in numbers if window > self.window]
            rows = done + new.rows - skipped
        at = [done] if self.window else []
        update = {"rows": rows, "knots": (*earlier, *at, *later)}
        return (new or old).model_copy(update=update)

    def _rows_before(self, share: StratumShare) -> int:
        """Those that `after` would have delivered before the window, to the nearest; halves up."""
        windows = (0, *self.after.knots, self.after.windows)
        rows = (0, *share.knots, share.rows)
        piece = bisect_right(windows, self.window) - 1
        length = windows[piece + 1] - windows[piece]
        passed = (self.window - windows[piece]) * (rows[piece + 1] - rows[piece])
        return rows[piece] + (2 * passed + length) // (2 * length)


def _targets(pool: int, shares: Sequence[StratumShare]) -> list[int]:
    """Of the pool, in proportion to the tokens that the rows hold: two mixtures made them."""
    tokens = [share.rows * share.tokens_available / share.rows_available for share in shares]
    whole = sum(tokens)
    parts = {f"{place:06d}": pool * n / whole for place, n in enumerate(tokens)}
    return list(apportion(pool, parts).values())


def _left(
    store: Store, share: StratumShare, context: int, gone: Mapping[str, RowCount]
) -> tuple[Part, Ledger]:
    """A stratum that is read no more, as it was weighed, and its ledger."""
    folder = store.resolve(share.folder)
    found = strata.load(folder)
    if found is None:
        raise UserError(
            f"{folder} is not there, and a run has read it: bring it back, or begin the phase "
            "afresh with `mmbert train`"
        )
    count = found.rows(context)
    for entry in found.shards:
        count -= gone.get(digest_of(entry.name), RowCount(0, 0, 0))
    ledger = found.ledger.model_copy(update={"unreadable": ()})
    return Part(found.name, "", count), ledger


def _shards(before: pa.Table, mixed: Mixed, manifest: Manifest, known: int) -> pa.Table:
    """The shard table (SHARDS) of before, then that of the strata that are new."""
    places = {share.id: place for place, share in enumerate(manifest.strata)}
    moved = pa.array([places[share.id] for share in mixed.manifest.strata], pa.int32())
    stratum = pc.take(moved, mixed.shards.column("stratum").combine_chunks())
    new = mixed.shards.set_column(0, mixed.shards.schema.field(0), stratum)
    return pa.concat_tables([before, new.filter(pc.greater_equal(stratum, known))])
