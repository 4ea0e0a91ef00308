"""What the decide step is told and what it tells: plain records that workers can carry."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

Rank = tuple[int, int, int, int]  # (0 held out, 1 training), key, file, record


def band_key(band: int) -> bytes:
    """A band among the hashes of texts: half as long, so that neither is taken for the other."""
    return band.to_bytes(8, "little")


@dataclass(frozen=True)
class SpillRef:
    """One spill, as the decide and gather steps see it."""

    origin: str  # source/language
    folder: str
    file_index: int
    split: str
    grouped: bool  # held-out text is chosen from this origin, by `held_out`
    bounds: tuple[float, ...] = ()  # least scores of the source's tiers, the lowest first

    def tier(self, score: float | None) -> int:
        """The place of a document's tier, the lowest 0; 0 where the source has none."""
        reached = bisect_right(self.bounds, score) if score is not None else 0
        return max(0, reached - 1)


@dataclass
class Decision:
    """What was decided for one origin."""

    documents: dict[tuple[str, int], int] = field(default_factory=dict)  # by split and tier
    tokens: dict[tuple[str, int], int] = field(default_factory=dict)
    keepers: dict[bytes, Rank] = field(default_factory=dict)  # of texts and bands that occur twice
    held_out: frozenset[int] = frozenset()  # groups of near-duplicates

    def documents_of(self, split: str) -> int:
        return sum(n for (found, _), n in self.documents.items() if found == split)

    def tokens_of(self, split: str) -> int:
        return sum(n for (found, _), n in self.tokens.items() if found == split)

    @property
    def num_tokens(self) -> int:
        return sum(self.tokens.values())
