"""The part of a recipe that says what text is read: tokenizer, sources, filters.

It decides the strata; the rest of a recipe (schemas/recipe.py) decides what is made of them.
"""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.errors import UserError
from schemas.language import split_subset
from schemas.ledger import Frozen
from schemas.seal import SpecialIds
from schemas.stratum import HELDOUT, TRAIN

TIER_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")

FilterName = Literal[
    "length",
    "control_characters",
    "mojibake",
    "script",
    "language_score",
    "language",
    "symbols",
    "repeated_lines",
    "near_duplicate",
]


class TrainTokenizer(Frozen):
    """SentencePiece BPE with byte fallback, languages sampled by the temperature rule."""

    vocab_size: int = Field(256_000, ge=512)
    tau: float = Field(0.3, ge=0, le=1)
    sample_megabytes: float = Field(100.0, gt=0, description="of text that it learns from")
    character_coverage: float = Field(0.9995, gt=0.9, le=1)


class TokenizerSettings(Frozen):
    """Exactly one of `path` (a folder, tokenizer.json or .model; any URL) and `train`."""

    path: str | None = None
    train: TrainTokenizer | None = None
    special: SpecialIds = SpecialIds()

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) == (self.train is None):
            raise ValueError("give either path or train, not both")
        return self


class Fields(Frozen):
    """Where `documents` have their parts: column names, or keys of a JSON line."""

    text: str | tuple[str, ...] = Field(
        "text", description="several are joined by a blank line, as are the turns of a talk"
    )
    id: str = "id"
    url: str = "url"
    score: str = "score"
    language: str = Field("", description="where a record says its language")
    label: str = Field("", description="what must stand there; other records are dropped")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if not self.texts:
            raise ValueError("text: name a column at least")
        if bool(self.language) != bool(self.label):
            raise ValueError('give language and label together: language = "lang", label = "fo"')
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,) if isinstance(self.text, str) else self.text


class Source(Frozen):
    """A data set of raw text in one of the schemas that pipelines.read knows, or imported strata.

    `documents` is any other Parquet or JSON lines: all of it in `language`, or a folder for each
    (`PATH/<lang_Script>/...`) where none is named. `imported` are the strata that
    `mmbert import-mds` has put into the store under this source's name; it has no path.
    """

    path: str = ""
    format: Literal["fineweb2", "dclm", "dolmino", "documents", "imported"]
    language: str | None = Field(None, description="of documents: lang_Script as FineWeb2 writes")
    languages: dict[str, str] = Field(
        {}, description="of documents: lang_Script of each folder that is named otherwise"
    )
    subsets: bool = Field(
        False, description="of documents: the first folder is a subset, a source NAME/FOLDER"
    )
    fields: Fields = Fields()
    licence: str = "unknown"
    attribution: str = Field("unknown", description="whom its licence wants named")
    licences: dict[str, str] = Field({}, description="of subsets whose licence is another")
    min_score: float | None = Field(
        None, description="drop documents whose quality score (DCLM's fastText) is below"
    )
    tiers: dict[str, float] = Field(
        {}, description="a stratum each: the least score of its documents; below all is dropped"
    )
    probe: str | None = Field(None, description="a folder of pipelines/probe.py; gives the score")
    skip: tuple[FilterName, ...] = Field(
        (), description="filters that its text is spared: those that others have run on it"
    )
    gated: bool = Field(False, description="its hub asks for an account and consent")
    published_tokens: int | dict[str, int] | None = Field(
        None,
        description="what it is said to hold, by subset where that is known: a plan without it",
    )

    @model_validator(mode="after")
    def _path(self) -> Self:
        if (self.format == "imported") == bool(self.path):
            raise ValueError("every source has a path, but imported strata, which lie in the store")
        if self.language is not None and self.format != "documents":
            raise ValueError(f"language is for documents: {self.format} says it itself")
        if self.languages and self.language is not None:
            raise ValueError("give language, or languages by folder")
        if self.format != "documents" and (self.fields != Fields() or self.languages):
            raise ValueError(f"fields and languages are for documents: {self.format} has its own")
        if self.format != "documents" and self.subsets:
            raise ValueError(f"subsets are for documents: {self.format} says them itself")
        return self

    @model_validator(mode="after")
    def _tiers(self) -> Self:
        wrong = [t for t in self.tiers if t in (TRAIN, HELDOUT) or not TIER_NAME.fullmatch(t)]
        if wrong:
            raise ValueError(
                f"tiers: {wrong[0]!r} is no name for one; take a-z, 0-9 and '-', but not "
                f"{TRAIN!r} and {HELDOUT!r}, which every source may have"
            )
        if self.tiers and self.min_score is not None:
            raise ValueError("give min_score or tiers: the least score of tiers is one")
        if len(set(self.tiers.values())) < len(self.tiers):
            raise ValueError("tiers: two of them begin at the same score")
        scored = self.format in ("dclm", "documents") or self.probe
        if (self.tiers or self.min_score is not None) and not scored:
            raise ValueError(f"{self.format} has no quality score: give a probe that makes one")
        return self

    @property
    def bounds(self) -> dict[str, float]:
        """Tiers and their least scores, the lowest first."""
        return dict(sorted(self.tiers.items(), key=lambda tier: tier[1]))

    @property
    def least_score(self) -> float | None:
        return min(self.tiers.values()) if self.tiers else self.min_score

    @model_validator(mode="after")
    def _published(self) -> Self:
        if self.format in ("fineweb2", "dolmino") and isinstance(self.published_tokens, int):
            raise ValueError(f"published_tokens of {self.format} is a table, a key a subset")
        whole = self.format == "dclm" or self.language is not None
        if whole and isinstance(self.published_tokens, dict):
            raise ValueError("published_tokens is one number where all of a source is one language")
        return self

    @field_validator("language")
    @classmethod
    def _language(cls, value: str | None) -> str | None:
        if value is not None:
            _require_subset(value)
        return value

    @field_validator("languages")
    @classmethod
    def _languages(cls, value: dict[str, str]) -> dict[str, str]:
        for subset in value.values():
            _require_subset(subset)
        return value

    def licence_of(self, source: str) -> str:
        """The licence of `name` or `name/subset`."""
        return self.licences.get(source.partition("/")[2], self.licence)


def _require_subset(subset: str) -> None:
    try:
        split_subset(subset)
    except UserError as error:
        raise ValueError(str(error)) from None


class Filters(Frozen):
    """The filters in their order, and the value from which each drops a document."""

    use: tuple[FilterName, ...] = (
        "length",
        "mojibake",
        "control_characters",
        "script",
        "language_score",
        "symbols",
        "repeated_lines",
    )
    min_characters: int = Field(60, ge=1)
    max_control_share: float = Field(0.01, ge=0, le=1)
    max_mojibake_share: float = Field(0.02, ge=0, le=1)
    min_script_share: float = Field(0.5, ge=0, le=1)
    min_language_score: float = Field(0.3, ge=0, le=1)
    max_symbol_share: float = Field(0.3, ge=0, le=1)
    max_repeated_line_share: float = Field(0.5, ge=0, le=1)
    max_language_distance: float = Field(
        1.5, gt=0, description="nats a character trigram is less likely than in its file's median"
    )
