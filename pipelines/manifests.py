"""Manifests: from committed strata and a recipe's phase to what the trainer delivers.

    tokens T and rows R of each stratum at the phase's context, exclusions taken off
    -> shares of the groups -> targets of the languages -> targets of the strata -> row quotas K

No token is read or written here: a new mixture is a new file of some hundred kilobytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa

from pipelines.exclude import exclude, find_groups, rows_excluded
from pipelines.inventory import MULTILINGUAL, in_group, phase_codes, reads
from pipelines.weights import apportion, fill, quota, require_room, temperature
from schemas import exclusions as exclusion_lists
from schemas import manifest as manifests
from schemas.errors import UserError
from schemas.language import by_code
from schemas.ledger import total as total_ledger
from schemas.manifest import SHARDS, Absence, LanguageShare, Manifest, StratumShare
from schemas.recipe import Phase, Recipe
from schemas.rows import RowCount
from schemas.seal import Seal
from schemas.shard import digest_of
from schemas.store import Store, exists, join
from schemas.stratum import TRAIN, Stratum, stratum_folder


@dataclass(frozen=True)
class Part:
    """One stratum as a phase reads it: whose share it draws on, and what it has."""

    stratum: Stratum
    share: str  # MULTILINGUAL or a key of the phase's shares
    shards: tuple[RowCount, ...]  # at the phase's context, exclusions taken off

    @cached_property
    def count(self) -> RowCount:
        return sum(self.shards, RowCount(0, 0, 0))

    @property
    def entry(self) -> tuple[str, str]:
        """What weights and caps act on: a language of a share."""
        return self.share, self.stratum.name.code


class Decided(NamedTuple):
    """A manifest before it is published, with the tables that lie beside it."""

    manifest: Manifest
    shards: pa.Table  # SHARDS schema
    excluded: pa.Table  # exclusions.ROWS


def make_manifest(
    recipe: Recipe, phase_name: str, store: Store, sealed: Seal, strata: Sequence[Stratum]
) -> tuple[Manifest, str]:
    """The manifest of a phase, in the store under its id and named "main"; and its URL."""
    decided = decide_manifest(recipe, phase_name, store, sealed, strata)
    return decided.manifest, publish_manifest(store, decided)


def publish_manifest(store: Store, decided: Decided) -> str:
    """Put a manifest into the store, unless it is there, and name it "main"; returns its URL."""
    manifest, shards, excluded = decided
    url = manifests.url_of(store, manifest)
    if not exists(url):
        if excluded.num_rows:
            exclusion_lists.save(store, excluded)
        manifests.publish(store, manifest, shards)
    manifests.name_manifest(store, manifest, "main")
    return url


def decide_manifest(
    recipe: Recipe, phase_name: str, store: Store, sealed: Seal, strata: Sequence[Stratum]
) -> Decided:
    """The manifest of a phase over committed strata; publishes nothing.

    Raises UserError for a pool that languages and caps cannot fill, a language set of which no
    member is present, and, in strict phases, for absent members.
    """
    phase = recipe.phases[phase_name]
    read = _read(phase_name, phase, strata)
    groups = find_groups(store, strata, list(recipe.sources))
    excluded = exclude(groups, {s.id for s, _ in read})
    parts = _parts(read, phase.context, excluded)
    if not parts:
        raise UserError(
            f"phases.{phase_name}: no source has text for it; check its languages and shares, "
            "or point its sources at more text"
        )
    targets = share_out(phase, f"phases.{phase_name}", parts)
    rows = [
        quota(q, p.count.rows, p.count.tokens, phase.budget_tokens, phase.pool_tokens)
        for p, q in zip(parts, targets, strict=True)
    ]
    absent = _absent(phase_name, phase, strata, parts)
    manifest = Manifest(
        recipe=recipe.name,
        phase=phase_name,
        seed=recipe.seed,
        tokenizer=sealed.digest,
        vocab_size=sealed.vocab_size,
        context=phase.context,
        mask_rate=phase.mask_rate,
        tau=phase.tau,
        max_epochs=phase.max_epochs,
        pool_tokens=phase.pool_tokens,
        budget_tokens=phase.budget_tokens,
        packing=recipe.packing,
        windows=_num_windows(recipe, parts, rows),
        languages=_languages(parts, targets, rows, phase.pool_tokens),
        strata=tuple(
            StratumShare(
                id=p.stratum.id,
                folder=store.relative(stratum_folder(store, p.stratum.name, p.stratum.id)),
                source=p.stratum.name.source,
                language=p.stratum.name.language,
                tier=p.stratum.name.tier,
                rows_available=p.count.rows,
                tokens_available=p.count.tokens,
                target_tokens=q,
                rows=k,
            )
            for p, q, k in zip(parts, targets, rows, strict=True)
        ),
        absent=absent,
        exclusions=(exclusion_lists.ref_of(excluded),) if excluded.num_rows else (),
        ledger=total_ledger(p.stratum.ledger for p in parts).model_copy(update={"unreadable": ()}),
    ).sealed()
    return Decided(manifest, _shard_table(parts, store), excluded)


def decide_manifests(
    recipe: Recipe, store: Store, sealed: Seal, strata: Sequence[Stratum]
) -> dict[str, Decided]:
    """The manifest of every phase; UserError that says of all of them what cannot be met."""
    made: dict[str, Decided] = {}
    wrong: list[str] = []
    for name in recipe.phases:
        try:
            made[name] = decide_manifest(recipe, name, store, sealed, strata)
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        raise UserError("; and ".join(wrong))
    return made


def _read(phase_name: str, phase: Phase, strata: Sequence[Stratum]) -> list[tuple[Stratum, str]]:
    """The strata that a phase reads, each with the share it draws on, in a fixed order."""
    present = {s.name.code for s in strata if in_group(phase, s.name.source)}
    codes = phase_codes(phase_name, phase, present)
    read = []
    for stratum in sorted(strata, key=lambda s: str(s.name)):
        share = reads(phase, stratum.name.source, stratum.name.code, codes)
        if share is not None and stratum.name.tier == TRAIN:
            read.append((stratum, share))
    return read


def _parts(read: Sequence[tuple[Stratum, str]], context: int, excluded: pa.Table) -> list[Part]:
    """What each stratum has at a context once its excluded documents are taken off."""
    gone = rows_excluded(excluded, context)
    nothing = RowCount(0, 0, 0)
    parts = []
    for stratum, share in read:
        counts = tuple(
            entry.rows[context].count() - gone.get(digest_of(entry.name), nothing)
            for entry in stratum.shards
        )
        part = Part(stratum, share, counts)
        if part.count.rows:
            parts.append(part)
    return parts


def share_out(phase: Phase, where: str, parts: Sequence[Part]) -> list[int]:
    """Target tokens q of each part; they sum to pool_tokens exactly."""
    members: dict[tuple[str, str], list[int]] = {}
    for i, part in enumerate(parts):
        members.setdefault(part.entry, []).append(i)
    sizes = {e: sum(parts[i].count.tokens for i in found) for e, found in members.items()}
    room: dict[str, float] = {}
    for (share, _), size in sizes.items():
        room[share] = room.get(share, 0.0) + phase.max_epochs * size
    require_room(phase.pool_tokens, sum(room.values()), where, phase.max_epochs)
    of_share = fill(phase.pool_tokens, {key: phase.shares[key] for key in room}, room)
    wanted: dict[str, float] = {}
    for share, total in of_share.items():
        mine = {code: size for (key, code), size in sizes.items() if key == share}
        tau = phase.tau if share == MULTILINGUAL else 1.0
        caps = {code: phase.max_epochs * size for code, size in mine.items()}
        for code, target in fill(total, temperature(mine, tau), caps).items():
            wanted[f"{share}\0{code}"] = target
    targets = apportion(phase.pool_tokens, wanted)
    result = [0] * len(parts)
    for (share, code), found in members.items():
        target, size = targets[f"{share}\0{code}"], sizes[share, code]
        inside = {f"{i:06d}": target * parts[i].count.tokens / size for i in found}
        for name, tokens in apportion(target, inside).items():
            result[int(name)] = tokens
    return result


def _num_windows(recipe: Recipe, parts: Sequence[Part], rows: Sequence[int]) -> int:
    tokens = sum(k * p.count.tokens / p.count.rows for p, k in zip(parts, rows, strict=True))
    return max(1, round(tokens / (recipe.packing.window_packs * recipe.packing.pack_tokens)))


def _languages(
    parts: Sequence[Part], targets: Sequence[int], rows: Sequence[int], pool: int
) -> tuple[LanguageShare, ...]:
    """The parts by language, the largest target first."""
    by_language: dict[str, list[int]] = {}
    for i, part in enumerate(parts):
        by_language.setdefault(part.stratum.name.code, []).append(i)
    shares = []
    for code, members in by_language.items():
        available = sum(parts[i].count.tokens for i in members)
        target = sum(targets[i] for i in members)
        tokens = sum(rows[i] * parts[i].count.tokens / parts[i].count.rows for i in members)
        error = math.sqrt(sum(_variance(parts[i].count, rows[i]) for i in members))
        shares.append(
            LanguageShare(
                language=code,
                tokens_available=available,
                weight=target / pool,
                target_tokens=target,
                rows=sum(rows[i] for i in members),
                tokens=round(tokens),
                tokens_standard_error=round(error),
                epochs=tokens / available,
            )
        )
    return tuple(sorted(shares, key=lambda s: (-s.target_tokens, s.language)))


def _variance(count: RowCount, rows: int) -> float:
    """Of the tokens that `rows` rows hold: the last, partial epoch is drawn without replacement."""
    drawn = rows % count.rows
    if not drawn or count.rows < 2:
        return 0.0
    mean = count.tokens / count.rows
    spread = max(0.0, count.tokens_squared / count.rows - mean**2)
    return drawn * spread * (count.rows - drawn) / (count.rows - 1)


def _absent(
    phase_name: str, phase: Phase, strata: Sequence[Stratum], parts: Sequence[Part]
) -> tuple[Absence, ...]:
    """The members of the phase's language set that deliver nothing, and why."""
    present = {p.stratum.name.code for p in parts}
    built = {s.name.code for s in strata if s.name.tier == TRAIN}
    in_table = by_code()
    absences = []
    if MULTILINGUAL not in phase.shares:
        return ()
    for code in sorted(phase_codes(phase_name, phase, built) - present):
        if code in built:
            reason = "no document passed the filters"
        elif code in in_table and not in_table[code].subset:
            reason = "FineWeb2 no longer lists it, and no source has it"
        else:
            reason = "no source has it"
        absences.append(Absence(language=code, reason=reason))
    if absences and phase.strict:
        raise UserError(
            f"phases.{phase_name} is strict and {len(absences):,} of its languages are absent "
            f"({', '.join(a.language for a in absences[:8])}, ...); add sources that have them or "
            "set strict = false"
        )
    return tuple(absences)


def _shard_table(parts: Sequence[Part], store: Store) -> pa.Table:
    rows = [
        {
            "stratum": index,
            "url": store.relative(
                join(stratum_folder(store, part.stratum.name, part.stratum.id), entry.name)
            ),
            "digest": digest_of(entry.name),
            "documents": entry.documents,
            "rows": count.rows,
            "tokens": count.tokens,
        }
        for index, part in enumerate(parts)
        for entry, count in zip(part.stratum.shards, part.shards, strict=True)
    ]
    return pa.Table.from_pylist(rows, SHARDS)
