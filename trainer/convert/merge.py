"""Merge: several `transformers` directories of one architecture into one of the same.

    ties      the decay branches of mmBERT-base, over the checkpoint they started from
    average   a weighted mean
    ema       an exponentially weighted mean, the most recent last: mmBERT-small's last checkpoints

Nobody published density, weights, lambda, base or trim scope; the defaults are those of the TIES
paper. A tensor that is equal in all models is kept bit for bit, whatever the method: where nothing
differs there is nothing to merge. Files are read a tensor at a time, so memory holds a few tensors
for each model; model.safetensors keeps the header of the first model.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from torch import Tensor

from schemas import folder_digests
from schemas.errors import UserError
from schemas.progress import Progress, silent
from schemas.store import publish_folder
from trainer.convert import from_transformers
from trainer.convert.average import average, exponential_weights
from trainer.convert.output import replaceable
from trainer.convert.same import WEIGHTS, common_layout, require_same_model
from trainer.convert.tensor_file import Layout, write_like
from trainer.convert.ties import threshold, ties
from trainer.report import card

Method = Literal["ties", "average", "ema"]
Scope = Literal["tensor", "model"]
Read = Callable[[str], Tensor]
Combine = Callable[[str, Sequence[Tensor]], Tensor]

ALONG = ("config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json")


def merge(
    models: Sequence[Path],
    output: Path,
    method: Method = "ties",
    *,
    weights: Sequence[float] | None = None,
    density: float = 0.2,
    lam: float = 1.0,
    base: Path | None = None,
    trim_scope: Scope = "tensor",
    decay: float = 0.8,
    progress: Progress = silent,
) -> None:
    """Write the merged model to `output`, in place of a model that stands there.

    `weights` are for ties and average, 1 each by default; `density`, `lam`, `base` and
    `trim_scope` for ties; `decay` for ema. Raises UserError when configurations, tokenizers or
    tensors of the models differ, when a knob has no meaning, or when something else than a model
    would be replaced.
    """
    _check_knobs(models, method, weights, density, lam, base, decay)
    inputs = [*models, base] if base else models
    output = replaceable(output, inputs)
    require_same_model(models)
    layout = common_layout(inputs)
    chosen = weights or [1.0] * len(models)
    if method == "ema":
        chosen = exponential_weights(len(models), decay)

    temporary = output.with_name(f".{output.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for pattern in ALONG:
            for file in models[0].glob(pattern):
                shutil.copy(file, temporary / file.name)
        with ExitStack() as stack:
            files = [stack.enter_context(safe_open(path / WEIGHTS, "pt")) for path in inputs]
            reads = [file.get_tensor for file in files]
            mine = reads[: len(models)]
            combine = _mean(chosen)
            if base:
                combine = _ties(reads[-1], mine, layout, density, trim_scope, chosen, lam)
            tensors = _merged(models, mine, layout, combine, progress)
            write_like(layout, temporary / WEIGHTS, tensors)
        from_transformers.load(temporary)
        card.write(temporary, card.short(json.loads((temporary / "config.json").read_bytes())))
        folder_digests.record(temporary)
        publish_folder(temporary, output)
    except OSError as error:
        raise UserError(
            f"cannot write {output}: {error.strerror or error}; free space or fix the permissions "
            "and merge again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _merged(
    models: Sequence[Path],
    reads: Sequence[Read],
    layout: Layout,
    combine: Combine,
    progress: Progress,
) -> Iterator[Tensor]:
    """The tensors of the merged model, in the order of the layout."""
    for done, name in enumerate(layout.names):
        progress("merge", done, len(layout.names))
        tensors = [read(name) for read in reads]
        for model, tensor in zip(models, tensors, strict=True):
            if not torch.isfinite(tensor).all():
                raise UserError(f"{model}: {name} has values that are not finite: leave it out")
        if all(torch.equal(tensor, tensors[0]) for tensor in tensors[1:]):
            yield tensors[0]
        else:
            yield combine(name, tensors).to(tensors[0].dtype)


def _mean(weights: Sequence[float]) -> Combine:
    return lambda name, tensors: average(tensors, weights)


def _ties(
    base: Read,
    models: Sequence[Read],
    layout: Layout,
    density: float,
    trim_scope: Scope,
    weights: Sequence[float],
    lam: float,
) -> Combine:
    def learned(model: Read) -> Iterator[Tensor]:
        return (model(name).float() - base(name).float() for name in layout.names)

    def alone(delta: Tensor) -> float:
        return threshold(lambda: [delta], delta.numel(), density)

    whole = [
        threshold(partial(learned, model), layout.num_values, density)
        for model in (models if trim_scope == "model" else [])
    ]

    def combine(name: str, tensors: Sequence[Tensor]) -> Tensor:
        start = base(name).float()
        deltas = [tensor.float() - start for tensor in tensors]
        return ties(start, deltas, whole or [alone(delta) for delta in deltas], weights, lam)

    return combine


def _check_knobs(
    models: Sequence[Path],
    method: Method,
    weights: Sequence[float] | None,
    density: float,
    lam: float,
    base: Path | None,
    decay: float,
) -> None:
    if len(models) < 2:
        raise UserError(f"a merge takes at least two models and got {len(models)}: name more")
    if method == "ties" and base is None:
        raise UserError("ties needs a base: name what the others started from with --base")
    if method != "ties" and base is not None:
        raise UserError(f"{method} has no base: leave {base} out, or merge with ties")
    if weights is not None and method == "ema":
        raise UserError("ema makes its weights from its decay: leave the weights out")
    if weights is not None and len(weights) != len(models):
        raise UserError(f"{len(weights)} weights for {len(models)} models: give one for each")
    if not all(0 < weight < math.inf for weight in weights or ()):
        raise UserError(f"weights {list(weights or ())} must be positive: leave out what has none")
    if not 0 < density <= 1:
        raise UserError(f"density {density} must be above 0 and at most 1: 0.2 keeps a fifth")
    if not math.isfinite(lam):
        raise UserError(f"lambda {lam} must be finite: 1 is the paper's")
    if not 0 < decay <= 1:
        raise UserError(f"decay {decay} must be above 0 and at most 1: 1 is the plain average")
