"""A phase before there are strata: the arithmetic of the manifests over guessed sizes.

In: what each source has in each language (flows/supply.py). Out: what each language would get, and
which of the phase's languages would get nothing, and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flows.supply import Supply
from pipelines.inventory import MULTILINGUAL, in_group, phase_codes, reads
from pipelines.mixture import Part, share_out
from schemas.errors import UserError
from schemas.language import by_code
from schemas.manifest import Absence
from schemas.recipe import Phase, Recipe
from schemas.rows import RowCount
from schemas.stratum import StratumName


@dataclass(frozen=True)
class LanguagePlan:
    language: str
    tokens: int
    rows: int
    epochs: float


@dataclass(frozen=True)
class PhasePlan:
    name: str
    pool_tokens: int
    budget_tokens: int
    languages: tuple[LanguagePlan, ...]
    absent: tuple[Absence, ...]
    doubt: str = ""  # why an estimate says that it cannot be met


def reading(name: str, phase: Phase, supplies: Iterable[Supply]) -> tuple[tuple[Supply, str], ...]:
    """What a phase reads that has text, each with the share it draws on.

    Raises UserError for a listed language that no temperature source has, and an unknown set.
    """
    supplies = tuple(supplies)
    codes = phase_codes(name, phase, {s.code for s in supplies if in_group(phase, s.source)})
    shares = ((s, reads(phase, s.source, s.code, codes)) for s in supplies if s.tokens)
    return tuple((supply, share) for supply, share in shares if share is not None)


def estimated(recipe: Recipe, name: str, supplies: Sequence[Supply]) -> PhasePlan:
    """What a phase would deliver over its budget."""
    phase = recipe.phases[name]
    read = reading(name, phase, supplies)
    absent = _absent(name, phase, supplies, {supply.code for supply, _ in read})
    doubt = ""
    try:
        targets = pool_targets(name, phase, read)
    except UserError as error:  # then all there is, as often as it may come
        doubt = str(error)
        targets = [int(phase.max_epochs * supply.tokens) for supply, _ in read]
    times = phase.budget_tokens / max(1, sum(targets))
    tokens: dict[str, int] = {}
    rows: dict[str, int] = {}
    there: dict[str, int] = {}
    for (supply, _), target in zip(read, targets, strict=True):
        code, delivered = supply.code, round(target * times)
        tokens[code] = tokens.get(code, 0) + delivered
        rows[code] = rows.get(code, 0) + _rows(delivered, supply, phase.context)
        there[code] = there.get(code, 0) + supply.tokens
    languages = tuple(
        LanguagePlan(code, n, rows[code], n / there[code])
        for code, n in sorted(tokens.items(), key=lambda item: (-item[1], item[0]))
    )
    return PhasePlan(name, phase.pool_tokens, phase.budget_tokens, languages, absent, doubt)


def pool_targets(name: str, phase: Phase, read: Sequence[tuple[Supply, str]]) -> list[int]:
    """Tokens of the pool that each supply gives; they sum to the pool exactly.

    Raises UserError when what there is, as often as `max_epochs` allows, cannot fill the pool.
    """
    return share_out(phase, f"phases.{name}", [_part(phase, s, share) for s, share in read])


def _part(phase: Phase, supply: Supply, share: str) -> Part:
    name = StratumName(source=supply.source, language=supply.language)
    rows = _rows(supply.tokens, supply, phase.context)
    return Part(name, share, RowCount(rows, supply.tokens, 0))


def _rows(tokens: int, supply: Supply, context: int) -> int:
    return -int(-tokens // min(context, supply.tokens_per_document))


def _absent(
    name: str, phase: Phase, supplies: Sequence[Supply], present: set[str]
) -> tuple[Absence, ...]:
    """The members of the phase's language set that get nothing, and why."""
    if MULTILINGUAL not in phase.shares:
        return ()
    group = [supply for supply in supplies if in_group(phase, supply.source)]
    as_published = any(supply.published for supply in group)
    table = by_code()
    absences = []
    for code in sorted(phase_codes(name, phase, {s.code for s in group}) - present):
        unlisted = code in table and not table[code].subset
        if unlisted and as_published:
            reason = "not in the published sizes, FineWeb2 v2.1's; v2.0 has it"
        elif unlisted:
            reason = "FineWeb2 no longer lists it, and no source has it"
        else:
            reason = "no source has it"
        absences.append(Absence(language=code, reason=reason))
    return tuple(absences)
