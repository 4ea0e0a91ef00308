"""What there is to mix, before any of it is tokenised: measured on disk, or as published.

    on disk     tokens ~ bytes * TOKENS_PER_BYTE                      (within a factor of two)
    published   FineWeb2's layout: TOKENS_PER_WORD * words of v2.1's training split, by subset;
                every other source: its `published_tokens`

Three tokens a word is what mmBERT's own published counts say: those of the languages that it took
once, in full, are 3 x FineWeb2's words. The published table of sizes is that of v2.1, whichever
release a recipe reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.inventory import ENGLISH, Origin
from schemas.language import by_subset
from schemas.stratum import TRAIN
from schemas.text import Source

TOKENS_PER_BYTE = 0.7  # of compressed Parquet or JSON; FineWeb2 has 2.6 bytes of text in one
TOKENS_PER_WORD = 3
TOKENS_PER_DOCUMENT = 500
MANY = "mul_Zyyy"  # ISO 639's code for several languages: how many tokens of each, nobody says


@dataclass(frozen=True)
class Supply:
    """What one source has in one language."""

    source: str  # `dolmino/math` for a subset
    language: str  # lang_Script
    tokens: int  # to train on
    num_bytes: int  # on disk, held-out text included
    tokens_per_document: float = TOKENS_PER_DOCUMENT
    published: bool = False

    @property
    def code(self) -> str:
        return self.language.split("_")[0]


def measured(origins: Iterable[Origin]) -> tuple[Supply, ...]:
    """By the size of files, and by the strata of what was imported."""
    return tuple(
        Supply(
            origin.source,
            origin.language,
            round(sum(f.size_bytes for f in origin.files if f.split == "train") * TOKENS_PER_BYTE)
            + sum(stratum.tokens for stratum in origin.imported if stratum.tier == TRAIN),
            origin.size_bytes,
        )
        for origin in origins
    )


def has_published_sizes(source: Source) -> bool:
    """Whether a source can be planned without it. A mistyped local path must not be."""
    remote_fineweb2 = source.format == "fineweb2" and "://" in source.path
    return source.published_tokens is not None or remote_fineweb2


def published(name: str, source: Source) -> tuple[Supply, ...]:
    """As the recipe says it, or for FineWeb2's layout as the table of languages does."""
    told = source.published_tokens
    if isinstance(told, int):
        language = ENGLISH if source.format == "dclm" else source.language or MANY
        return (_guessed(name, language, told),)
    if source.format == "dolmino":
        return tuple(_guessed(f"{name}/{subset}", ENGLISH, n) for subset, n in (told or {}).items())
    if told is not None:
        return tuple(_guessed(name, subset, tokens) for subset, tokens in told.items())
    return tuple(
        Supply(
            name,
            subset,
            TOKENS_PER_WORD * row.words,
            row.parquet_bytes,
            TOKENS_PER_WORD * row.words / row.documents,
            published=True,
        )
        for subset, row in by_subset().items()
        if row.words
    )


def _guessed(source: str, language: str, tokens: int) -> Supply:
    return Supply(source, language, tokens, round(tokens / TOKENS_PER_BYTE), published=True)
