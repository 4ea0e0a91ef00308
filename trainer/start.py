"""The model that a run starts from, in place of random weights: read, checked, made to size.

    a `transformers` directory    with rotary bases of its own
    a raw Composer checkpoint     with those of the phase that it enters, and with its moments
    either, of a larger model     every second channel, whole heads (trainer/convert/shrink.py)

Each phase that comes after no other begins from it anew. Moments are taken over only where the
weights are: a shrunk model begins with none, and its optimiser's step at 0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from schemas import seal as seals
from schemas.errors import UserError
from schemas.recipe import ModelSettings, Start
from schemas.run import RunStart, digest_of_weights, weights_file
from schemas.seal import Seal
from trainer.convert import from_composer, from_transformers
from trainer.convert.composer_moments import Moments
from trainer.convert.shrink import shrink, stride_of
from trainer.model import ModelConfig, ModernBert, Theta

# What weights do not fit without, by its name in a recipe's [model].
SIZES = ("num_layers", "intermediate_size", "global_every", "local_window")


class StartModel(NamedTuple):
    """A model of the run's sizes, in fp32 on the CPU."""

    model: ModernBert
    theta: Theta
    moments: Moments | None

    @property
    def step(self) -> int:
        """Of the optimiser, from which it goes on."""
        return self.moments.step if self.moments else 0


def require_fit(start: Start, model: ModelSettings, sealed: Seal | None) -> None:
    """Refuse what `load` would refuse, as far as it can be told without the weights.

    `sealed` None: the tokenizer is not known yet. Of a Composer checkpoint only the weights tell
    sizes. Raises UserError.
    """
    path = Path(start.model)
    weights_file(start.model)
    if sealed is not None:
        _require_tokenizer(path, sealed)
    if not path.is_dir():
        return
    try:
        theirs = from_transformers.read_config(path)
    except UserError as error:
        raise UserError(f"start.model: {error}; start from another model") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"start.model: {path / 'config.json'} is no configuration of a ModernBERT "
            f"({type(error).__name__}: {error}); fetch the model again"
        ) from error
    ours = ModelConfig(
        vocab_size=sealed.vocab_size if sealed else theirs.vocab_size,
        hidden_size=model.hidden_size,
        num_layers=model.num_layers,
        num_heads=model.num_heads,
        intermediate_size=model.intermediate_size,
        global_every=model.global_every,
        local_window=model.local_window,
    )
    _require_sizes(path, theirs, ours)
    if not _is_of_size(theirs, ours):
        try:
            stride_of(theirs, ours.hidden_size, ours.num_heads)
        except UserError as error:
            raise UserError(f"start.model: {path}: {error}") from error


def load(start: RunStart, sealed: Seal, config: ModelConfig, theta: Theta) -> StartModel:
    """The model of a run's start for models of `config`; `theta` where it does not say its own.

    Raises UserError when its weights are not those that the run was described with, or when its
    tokenizer or its sizes do not fit.
    """
    path = Path(start.settings.model)
    found = digest_of_weights(str(path))
    if found != start.digest:
        raise UserError(
            f"start.model: {path} holds weights {found[:16]}, and the run was described with "
            f"{start.digest[:16]}: bring those back, or describe a new run with `mmbert train`"
        )
    _require_tokenizer(path, sealed)
    moments = None
    if path.is_dir():
        model, theta = from_transformers.load(path)
    else:
        model, theta, moments = from_composer.load(path, theta, head_dim=config.head_dim)
    _require_sizes(path, model.config, config)
    if _is_of_size(model.config, config):
        return StartModel(model, theta, moments)
    try:
        small = shrink(model, config.hidden_size, config.num_heads, start.settings.rescale)
    except UserError as error:
        raise UserError(f"start.model: {path}: {error}") from error
    return StartModel(small, theta, None)


def _is_of_size(theirs: ModelConfig, ours: ModelConfig) -> bool:
    return (theirs.hidden_size, theirs.num_heads) == (ours.hidden_size, ours.num_heads)


def _require_tokenizer(path: Path, sealed: Seal) -> None:
    """The tokenizer beside a model, if there is one, must be the run's (I10)."""
    file = (path if path.is_dir() else path.parent) / "tokenizer.json"
    if not file.exists():
        return
    try:
        found = seals.seal(file.read_bytes(), sealed.special, origin=str(file))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"start.model: {file} is no tokenizer that the `tokenizers` library wrote; fetch the "
            "model again"
        ) from error
    seals.require_same(found.digest, sealed.digest, f"start.model: {file}")


def _require_sizes(path: Path, theirs: ModelConfig, ours: ModelConfig) -> None:
    if theirs.vocab_size != ours.vocab_size:
        raise UserError(
            f"start.model: {path} has a vocabulary of {theirs.vocab_size}, and the run's tokenizer "
            f"one of {ours.vocab_size}: set tokenizer.path to the tokenizer of that model"
        )
    for size in SIZES:
        mine, found = getattr(ours, size), getattr(theirs, size)
        if mine != found:
            raise UserError(
                f"start.model: {path} has {size} = {found}, and the recipe model.{size} = {mine}: "
                f"set it to {found}, or start from another model"
            )
    if theirs.norm_eps != ours.norm_eps:
        raise UserError(
            f"start.model: {path} has norm_eps = {theirs.norm_eps:g}, where models have "
            f"{ours.norm_eps:g} here: start from another one"
        )
