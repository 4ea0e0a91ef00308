"""The mixture of a phase: which strata it reads, and how many tokens of the pool each gives.

    strata -> the share that each draws on -> shares of the pool -> targets of the languages
           -> targets of the strata, in proportion to what they hold

What weights, floors and caps act on is a language of a share: its scripts, sources and tiers
summed, or its scripts apart (`weight_by = "subset"`). So splitting a stratum changes no language.

Where tau changes over the phase, it does in TAU_STEPS equal steps. Each is a mixture of its own,
with shares, caps and floors of the whole pool, and their mean is that of the phase: so the weights
at any time are those that a phase of that tau would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.inventory import MULTILINGUAL, in_group, phase_codes, reads
from pipelines.weights import apportion, fill, require_floors, require_room, temperature
from schemas.catalogue import Catalogue, Listed
from schemas.errors import UserError
from schemas.language import by_code
from schemas.manifest import Absence
from schemas.recipe import Phase
from schemas.rows import RowCount
from schemas.stratum import HELDOUT, TRAIN, StratumName

TAU_STEPS = 16  # from 0.7 to 0.3 two languages whose sizes are 10^6 apart move by 1.4 a step


@dataclass(frozen=True)
class Part:
    """One stratum as a phase reads it: whose share it draws on, and what it has."""

    name: StratumName
    share: str  # MULTILINGUAL or a key of the phase's shares
    count: RowCount  # at the phase's context, exclusions taken off

    def entry(self, phase: Phase) -> tuple[str, str]:
        """What weights and caps act on: a language of a share, or one of its scripts."""
        by_subset = phase.weight_by == "subset"
        return self.share, self.name.language if by_subset else self.name.code


def read_by(name: str, phase: Phase, catalogue: Catalogue) -> dict[int, str]:
    """The strata that a phase reads, by their place in the catalogue, and the share of each.

    Raises UserError for a listed language that no temperature source has, for an unknown set, and
    for a tier that no source has.
    """
    present = {s.name.code for s in catalogue.strata if in_group(phase, s.name.source)}
    codes = phase_codes(name, phase, present)
    _require_tiers(name, phase, catalogue)
    read = {}
    for place, stratum in enumerate(catalogue.strata):
        share = reads(phase, stratum.name.source, stratum.name.code, codes)
        if share is not None and takes_tier(phase, stratum.name):
            read[place] = share
    return read


def takes_tier(phase: Phase, name: StratumName) -> bool:
    """Whether a phase trains on a tier of a source; a source without tiers is read whole."""
    wanted = phase.tiers_of(name.source)
    return name.tier != HELDOUT and (wanted is None or name.tier in (TRAIN, *wanted))


def _require_tiers(name: str, phase: Phase, catalogue: Catalogue) -> None:
    there: dict[str, set[str]] = {}
    for listed in catalogue.strata:
        there.setdefault(listed.name.source.split("/")[0], set()).add(listed.name.tier)
    every = set().union(*there.values()) - {HELDOUT}
    named = phase.tiers if isinstance(phase.tiers, dict) else {"": phase.tiers or ()}
    for source, tiers in named.items():
        known = there.get(source.split("/")[0], set()) - {HELDOUT} if source else every
        for tier in tiers:
            if tier not in known:
                of = f" of {source}" if source else ""
                raise UserError(
                    f"phases.{name}.tiers: there is no tier {tier!r}{of}, the tiers are "
                    f"{', '.join(sorted(known)) or 'none'}; name one of these, or give the source "
                    "tiers of its own and build it again with `mmbert data`"
                )


def share_out(phase: Phase, where: str, parts: Sequence[Part]) -> list[int]:
    """Target tokens q of each part; they sum to pool_tokens exactly."""
    return mean_of(share_out_steps(phase, where, parts))


def share_out_steps(phase: Phase, where: str, parts: Sequence[Part]) -> list[list[int]]:
    """Those of each step of tau, as if the whole pool were shared out so; one where it stays."""
    members: dict[tuple[str, str], list[int]] = {}
    for i, part in enumerate(parts):
        members.setdefault(part.entry(phase), []).append(i)
    sizes = {e: sum(parts[i].count.tokens for i in found) for e, found in members.items()}
    room: dict[str, float] = {}
    for (share, _), size in sizes.items():
        room[share] = room.get(share, 0.0) + phase.max_epochs * size
    require_room(phase.pool_tokens, sum(room.values()), where, phase.max_epochs)
    of_share = fill(phase.pool_tokens, {key: phase.shares[key] for key in room}, room)
    steps = []
    for tau in _taus(phase):
        wanted: dict[str, float] = {}
        for share, total in of_share.items():
            mine = {code: size for (key, code), size in sizes.items() if key == share}
            caps = {code: phase.max_epochs * size for code, size in mine.items()}
            floors = _floors(phase, share, mine, caps)
            require_floors(total, floors, where)
            weights = temperature(mine, tau if share == MULTILINGUAL else 1.0)
            for code, target in fill(total, weights, caps, floors).items():
                wanted[f"{share}\0{code}"] = target
        steps.append(_of_parts(apportion(phase.pool_tokens, wanted), members, sizes, parts))
    return steps


def mean_of(steps: Sequence[Sequence[int]]) -> list[int]:
    """Targets of the whole phase, which spends the same time in each step."""
    total = sum(steps[0])
    mean = {f"{i:06d}": sum(step) / len(steps) for i, step in enumerate(zip(*steps, strict=True))}
    return list(apportion(total, mean).values()) if len(steps) > 1 else list(steps[0])


def _taus(phase: Phase) -> list[float]:
    """The tau in the middle of each step."""
    if phase.tau_end is None:
        return [phase.tau]
    change = phase.tau_end - phase.tau
    return [phase.tau + change * (step + 0.5) / TAU_STEPS for step in range(TAU_STEPS)]


def _of_parts(
    targets: Mapping[str, int],
    members: Mapping[tuple[str, str], Sequence[int]],
    sizes: Mapping[tuple[str, str], int],
    parts: Sequence[Part],
) -> list[int]:
    """The targets of entries ("share NUL code"), shared out among their parts by size."""
    result = [0] * len(parts)
    for (share, code), found in members.items():
        target, size = targets[f"{share}\0{code}"], sizes[share, code]
        if len(found) == 1:  # as most are, and a schedule comes here 16 times as often
            result[found[0]] = target
            continue
        inside = {f"{i:06d}": target * parts[i].count.tokens / size for i in found}
        for name, tokens in apportion(target, inside).items():
            result[int(name)] = tokens
    return result


def _floors(
    phase: Phase, share: str, sizes: dict[str, int], caps: dict[str, float]
) -> dict[str, float]:
    """The least that each language of the temperature group gets: min_tokens, or all it has."""
    if share != MULTILINGUAL or not phase.min_tokens:
        return {}
    return {code: min(phase.min_tokens, size, caps[code]) for code, size in sizes.items()}


def absent(
    name: str, phase: Phase, catalogue: Catalogue, parts: Sequence[Part]
) -> tuple[Absence, ...]:
    """The members of the phase's language set that deliver nothing, and why.

    Raises UserError when there are any and the phase is strict.
    """
    if MULTILINGUAL not in phase.shares:
        return ()
    present = {part.name.code for part in parts}
    built = {s.name.code for s in catalogue.strata if s.name.tier != HELDOUT}
    in_table = by_code()
    absences = []
    for code in sorted(phase_codes(name, phase, built) - present):
        if code in built:
            reason = _why_empty(phase, code, catalogue.strata)
        elif code in in_table and not in_table[code].subset:
            reason = "FineWeb2 no longer lists it, and no source has it"
        else:
            reason = "no source has it"
        absences.append(Absence(language=code, reason=reason))
    if absences and phase.strict:
        raise UserError(
            f"phases.{name} is strict and {len(absences):,} of its languages are absent "
            f"({', '.join(a.language for a in absences[:8])}, ...); add sources that have them or "
            "set strict = false"
        )
    return tuple(absences)


def _why_empty(phase: Phase, code: str, strata: Sequence[Listed]) -> str:
    mine = [s for s in strata if s.name.code == code and s.name.tier != HELDOUT]
    kept = [s for s in mine if s.ledger.kept]
    if kept and not any(takes_tier(phase, s.name) for s in kept):
        return "no document is of a tier that the phase reads"
    if not any(s.ledger.read for s in mine):
        return "its files hold no document that can be read"
    return "no document passed the filters"
