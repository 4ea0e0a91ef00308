"""What each language gets of a phase, over all its strata; tokens with their standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipelines.mixture import Part
from schemas.manifest import LanguageShare
from schemas.rows import RowCount


def languages_of(
    parts: Sequence[Part], targets: Sequence[int], rows: Sequence[int], pool: int
) -> tuple[LanguageShare, ...]:
    """The parts by language, the largest target first."""
    by_language: dict[str, list[int]] = {}
    for i, part in enumerate(parts):
        by_language.setdefault(part.name.code, []).append(i)
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
