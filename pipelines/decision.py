"""What the decide step is told and what it tells: plain records that workers can carry."""

from __future__ import annotations

from dataclasses import dataclass, field

Rank = tuple[int, int, int, int]  # (0 held out, 1 training), key, file, record
NO_THRESHOLD = -1


@dataclass(frozen=True)
class SpillRef:
    """One spill, as the decide and gather steps see it."""

    origin: str  # source/language
    folder: str
    file_index: int
    split: str
    grouped: bool  # held-out text is chosen from this origin by `threshold`


@dataclass
class Decision:
    """What was decided for one origin."""

    documents: dict[str, int] = field(default_factory=dict)  # by split
    tokens: dict[str, int] = field(default_factory=dict)
    keepers: dict[bytes, Rank] = field(default_factory=dict)  # of texts that occur twice
    threshold: int = NO_THRESHOLD

    @property
    def num_tokens(self) -> int:
        return sum(self.tokens.values())
