"""The recipe: *what* is built and trained. It is hashed; *where* things run is a profile's matter.

    [tokenizer]  read one by path, or train one        [model]      the encoder
    [sources.*]  where raw text lies and its schema    [packing]    packs and windows
    [filters]    what is dropped, and from which value [optimiser]  StableAdamW
    [heldout]    text that is never trained on         [phases.*]   mixture, budget and schedule
    [exclusions] documents that are left out           [release]    what the phases' models become
    [start]      a model that exists, not random

Every key is checked; `schemas.recipe_file` reads TOML into this and names the line to mend.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from schemas.ledger import Frozen
from schemas.manifest import Packing
from schemas.rows import CONTEXTS
from schemas.text import Filters, Source, TokenizerSettings

MAX_POSITION = 8192  # of the model, as released; more where a phase's context is longer
UNTRAINED = "untrained"  # the model before any phase; it lies beside those of the phases
START = "start"  # the same, where a recipe starts from a model that exists
RELEASE = "release"  # the model that is made of those of the phases


def _folder_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", value):
        raise ValueError("a name is made of a-z, 0-9 and '-', since folders are named after it")
    return value


def _phase_name(value: str) -> str:
    if value in (UNTRAINED, START, RELEASE):
        raise ValueError("a model of this name lies beside those of the phases; choose another")
    return _folder_name(value)


def _known_context(value: int) -> int:
    if value not in CONTEXTS:
        raise ValueError(f"context must be one of {', '.join(map(str, CONTEXTS))}")
    return value


class HeldOut(Frozen):
    """The held-out score: the same text, mask and context for every phase, model and seed."""

    share: float = Field(0.01, gt=0, lt=0.5, description="where a source has no test split")
    max_documents: int = Field(500, ge=1, description="a stratum")
    min_stratum_documents: int = Field(10, ge=1, description="smaller strata give none")
    context: int = Field(1024, le=MAX_POSITION)
    mask_rate: float = Field(0.15, gt=0, lt=1)
    min_documents: int = Field(5, ge=1, description="for a figure of its own; others are pooled")
    min_targets: int = Field(2_000, ge=1, description="masked tokens, likewise")

    @field_validator("context")
    @classmethod
    def _context(cls, value: int) -> int:
        return _known_context(value)


class ModelSettings(Frozen):
    """ModernBERT as mmBERT configures it; the defaults are mmBERT-base."""

    hidden_size: int = Field(768, gt=0)
    num_layers: int = Field(22, gt=0)
    num_heads: int = Field(12, gt=0)
    intermediate_size: int = Field(1152, gt=0)
    attn_out_dropout: float = Field(0.1, ge=0, lt=1)
    local_window: int = Field(128, ge=2, multiple_of=2)
    global_every: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError("hidden_size must be a multiple of 2 * num_heads")
        return self


class Optimiser(Frozen):
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    precision: Literal["fp32", "bf16"] = "bf16"


class Phase(Frozen):
    """One phase: what it reads, how long, and how it learns.

    `shares` are parts of the pool in any unit: `multilingual` is the temperature group (all
    `temperature_sources`), every other key a source or `source/subset`.
    """

    after: str | None = Field(None, description="start from the end of this phase")
    context: int
    mask_rate: float = Field(gt=0, lt=1)
    rope_theta: float = Field(gt=0)

    languages: str | tuple[str, ...] = Field(description="a named set, or ISO 639-3 codes")
    strict: bool = Field(False, description="refuse when a member of the set has no text")
    tau: float = Field(ge=0, le=1)
    tau_end: float | None = Field(
        None,
        ge=0,
        le=1,
        exclude_if=lambda tau: tau is None,  # so that runs without one keep their ids
        description="tau moves evenly from `tau` to this over the phase",
    )
    max_epochs: float = Field(1.0, gt=0, description="of the pool: no language exceeds it")
    min_tokens: int = Field(
        0, ge=0, description="of the pool: no language of the temperature group gets less, or all"
    )
    weight_by: Literal["language", "subset"] = Field(
        "language", description="subset: scripts of a language are weighted apart"
    )
    temperature_sources: tuple[str, ...] = ("fineweb2",)
    tiers: tuple[str, ...] | dict[str, tuple[str, ...]] | None = Field(
        None, description="of the sources that have some, for all or by source; None: every tier"
    )
    shares: dict[str, float]
    pool_tokens: int = Field(gt=0)
    budget_tokens: int = Field(gt=0)

    learning_rate: float = Field(gt=0)
    schedule: Literal["constant", "linear", "one-minus-sqrt"] = "constant"
    warmup_tokens: int = Field(0, ge=0)
    decay_tokens: int = Field(0, ge=0, description="at the end of the phase; 0: all of it")
    floor: float = Field(0.0, ge=0, le=1, description="of the learning rate, at the end of decay")
    weight_decay: float = Field(8e-5, ge=0, description="decoupled, a step at the peak rate")
    batch_packs: int = Field(gt=0)
    min_batch_packs: int | None = Field(None, gt=0)
    batch_warmup_tokens: int = Field(0, ge=0)
    snapshots: int = Field(0, ge=0, description="models kept evenly over the phase, its end last")

    def tiers_of(self, source: str) -> tuple[str, ...] | None:
        """The tiers that are read of a source that has some; None: all of them."""
        if isinstance(self.tiers, dict):
            return self.tiers.get(source, self.tiers.get(source.split("/")[0]))
        return self.tiers

    @field_validator("context")
    @classmethod
    def _context(cls, value: int) -> int:
        return _known_context(value)

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if not self.shares or min(self.shares.values()) < 0 or sum(self.shares.values()) <= 0:
            raise ValueError("shares must be positive and there must be at least one")
        return self

    @model_validator(mode="after")
    def _decay(self) -> Self:
        if self.decay_tokens > self.budget_tokens:
            raise ValueError(
                f"decay_tokens ({self.decay_tokens}) is more than budget_tokens "
                f"({self.budget_tokens}): lower it, or leave it out to decay over the whole phase"
            )
        return self


class Exclusions(Frozen):
    """Documents that lie in strata and are not delivered, beside those that stand in two sources.

    Strata stay as they are: a list is made of them and named by the manifests that skip it.
    """

    contamination: tuple[str, ...] = Field(
        (), description="files or globs of evaluation texts; documents that hold one are skipped"
    )
    takedowns: tuple[str, ...] = Field((), description="files of doc ids or URLs, one a line")


class Start(Frozen):
    """A model to start from: a `transformers` directory or a raw Composer checkpoint.

    A larger one is made to the recipe's sizes by taking every second channel and whole heads
    (trainer/convert/shrink.py). Moments are taken over where there are any for these weights.
    """

    model: str
    rescale: float | Literal["none", "sqrt", "linear"] = "sqrt"


class Release(Frozen):
    """What the phases' models become: one model of several (trainer/convert/merge.py).

    ties, average   of the models at the ends of `phases`; ties over the end of the phase `base`,
                    or over the model that the recipe starts from: `base = "start"`
    ema             of the snapshots of one phase, the latest last
    """

    method: Literal["ties", "average", "ema"]
    phases: tuple[str, ...]
    base: str | None = None
    weights: tuple[float, ...] = ()
    density: float = Field(0.2, gt=0, le=1)
    lam: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="lambda of TIES: scales the merged change"
    )
    trim_scope: Literal["tensor", "model"] = "tensor"
    decay: float = Field(0.8, gt=0, le=1, description="ema: what a model counts of the next one")

    @field_validator("base", mode="before")
    @classmethod
    def _no_base(cls, value: str | None) -> str | None:
        return value or None  # TOML has no null: "" takes back what an extended recipe says

    @model_validator(mode="after")
    def _method(self) -> Self:
        if (self.method == "ties") != (self.base is not None):
            raise ValueError("base is the phase that ties merges over, and no other method has it")
        if self.method == "ema" and len(self.phases) != 1:
            raise ValueError("ema averages the snapshots of one phase; name that one")
        if self.method != "ema" and len(self.phases) < 2:
            raise ValueError(f"{self.method} merges two phases or more")
        if len(set(self.phases)) < len(self.phases):
            raise ValueError("phases names one twice; to let it count more, give weights")
        if self.weights and self.method == "ema":
            raise ValueError("ema makes its weights from its decay; leave weights out")
        if self.weights and len(self.weights) != len(self.phases):
            raise ValueError("give one weight for each phase, or none")
        if not all(0 < weight < math.inf for weight in self.weights):
            raise ValueError("weights must be positive; leave a phase out that has none")
        return self


class Recipe(Frozen):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str = ""
    seed: int = Field(0, ge=0)
    tokenizer: TokenizerSettings
    sources: dict[Annotated[str, AfterValidator(_folder_name)], Source]
    filters: Filters = Filters()
    heldout: HeldOut = HeldOut()
    exclusions: Exclusions = Exclusions()
    model: ModelSettings = ModelSettings()
    packing: Packing
    optimiser: Optimiser = Optimiser()
    start: Start | None = None
    phases: dict[Annotated[str, AfterValidator(_phase_name)], Phase]
    release: Release | None = None

    @property
    def released(self) -> str:
        """The name of the model that the recipe is about."""
        return RELEASE if self.release else list(self.phases)[-1]

    @model_validator(mode="after")
    def _references(self) -> Self:
        names = list(self.phases)
        for i, (name, phase) in enumerate(self.phases.items()):
            if phase.after is not None and phase.after not in names[:i]:
                raise ValueError(f"phases.{name}.after names {phase.after!r}, no phase before it")
            said = {"temperature_sources": phase.temperature_sources, "shares": phase.shares}
            for key, source in ((key, source) for key, named in said.items() for source in named):
                if source != "multilingual" and source.split("/")[0] not in self.sources:
                    raise ValueError(
                        f"phases.{name}.{key} names the source {source!r}; "
                        f"there are {', '.join(self.sources)}"
                    )
            if isinstance(phase.tiers, dict):
                for source in phase.tiers:
                    if source.split("/")[0] not in self.sources:
                        raise ValueError(f"phases.{name}.tiers names {source!r}, no source")
            if phase.context > self.packing.pack_tokens:
                raise ValueError(f"phases.{name}.context is larger than packing.pack_tokens")
        return self

    @model_validator(mode="after")
    def _release(self) -> Self:
        release = self.release
        if release is None:
            return self
        named = list(release.phases)
        if release.base and not (self.start and release.base == START):
            named.append(release.base)
        for name in named:
            if name not in self.phases:
                raise ValueError(
                    f"release names {name!r}, no phase; there are {', '.join(self.phases)}"
                )
        thetas = {self.phases[name].rope_theta for name in release.phases}
        if len(thetas) > 1:
            raise ValueError(
                f"release merges phases of rope_theta {', '.join(f'{t:g}' for t in sorted(thetas))}"
                ": a merged model has one, so merge phases that share theirs"
            )
        if release.method == "ema" and self.phases[release.phases[0]].snapshots < 2:
            raise ValueError(
                f"release averages the snapshots of {release.phases[0]}: set "
                f"phases.{release.phases[0]}.snapshots to 2 or more"
            )
        return self
