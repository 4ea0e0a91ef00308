"""Import: a raw Composer checkpoint of FlexBERT (ModernBERT's and mmBERT's training code).

    payload["state"]["model"]        weights, named `model.bert.encoder.layers.0.attn.Wqkv.weight`
    payload["state"]["optimizers"]   moments, by name or by index; may be absent

The pickle is read with `weights_only=True` and a short list of harmless globals beside it, so it
runs no code. It says nothing of the rotary bases: 10,000 twice after pretraining, 160,000 twice
after later phases of mmBERT; the caller gives both.
"""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy._core import multiarray
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from schemas.errors import UserError
from trainer.convert.composer_moments import Moments, read_moments
from trainer.model import ModelConfig, ModernBert, Theta

HEAD_DIM = 64  # of every published ModernBERT and mmBERT; weights do not tell it
EMBEDDING = "model.embeddings.tok_embeddings.weight"
DECODER = "decoder.weight"


class Checkpoint(NamedTuple):
    """Model in fp32 on the CPU; `moments` is None when the file has no optimiser's state."""

    model: ModernBert
    theta: Theta
    moments: Moments | None


def load(
    path: Path, theta: Theta, config: ModelConfig | None = None, head_dim: int = HEAD_DIM
) -> Checkpoint:
    """Read a checkpoint; `config` None takes sizes from the weights, with heads of `head_dim`.

    Raises UserError when the file is no Composer checkpoint, holds a global that is not allowed, or
    names tensors, or gives them shapes, that the model does not have.
    """
    if min(theta) <= 0:
        raise UserError(
            f"rotary bases {theta.full:g} and {theta.local:g} must be positive: 10000 and 10000 "
            "for a checkpoint of pretraining, 160000 and 160000 for later ones"
        )
    state = _read(path)
    names = {theirs: _rename(theirs) for theirs in state["model"]}
    weights = {names[theirs]: tensor for theirs, tensor in state["model"].items()}
    config = config or _sizes(weights, path, head_dim)
    config.validate()
    with torch.device("meta"):
        model = ModernBert(config)
    _check(weights, model, path)
    weights[DECODER] = weights[EMBEDDING]
    # A copy: the file is mapped, and training writes into its weights.
    own = {name: tensor.to(torch.float32, copy=True) for name, tensor in weights.items()}
    model.load_state_dict(own, strict=True, assign=True)
    model.tie_weights()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    shapes = {ours: weights[ours].shape for ours in names.values() if ours != DECODER}
    return Checkpoint(model, theta, read_moments(state.get("optimizers"), names, shapes, path))


def _rename(name: str) -> str:
    """Composer's prefix off, FlexBERT's names to those of ModernBertForMaskedLM."""
    name = name.removeprefix("model.")
    if name.startswith("bert.encoder."):
        return "model." + name.removeprefix("bert.encoder.")
    return "model." + name.removeprefix("bert.") if name.startswith("bert.") else name


def _read(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals(_harmless()):
            payload = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state = payload["state"]
        if isinstance(state["model"], Mapping):
            return state
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: name a Composer checkpoint") from error
    except pickle.UnpicklingError as error:
        reason = str(error).split("GLOBAL ")[-1].split(" was not")[0].splitlines()[0]
        raise UserError(
            f"{path} holds what no checkpoint of weights should ({reason}), so it is not opened; "
            "fetch it again from where it was published"
        ) from error
    except (RuntimeError, KeyError, TypeError, EOFError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is no Composer checkpoint ({type(error).__name__}): it must be a whole .pt "
            "file with state.model"
        ) from error
    raise UserError(f"{path} is no Composer checkpoint: its state.model holds no tensors")


def _harmless() -> list[Any]:
    """The globals beside tensors that Composer's payload names: numbers, times, versions."""
    numeric = [np.dtype(kind) for kind in "?bBhHiIlLqQefd"]
    return [
        multiarray.scalar,
        (multiarray.scalar, "numpy.core.multiarray.scalar"),  # as numpy 1 wrote it
        multiarray._reconstruct,
        (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        *{type(dtype) for dtype in numeric},
        datetime.timedelta,
        TorchVersion,
    ]


def _sizes(weights: Mapping[str, Tensor], path: Path, head_dim: int) -> ModelConfig:
    try:
        vocab_size, hidden_size = weights[EMBEDDING].shape
        intermediate_size = weights["model.layers.0.mlp.Wo.weight"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} holds no FlexBERT: its embedding or its first layer is missing"
        ) from error
    layers = {name.split(".")[2] for name in weights if name.startswith("model.layers.")}
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_layers=len(layers),
        num_heads=max(1, hidden_size // head_dim),
        intermediate_size=intermediate_size,
    )


def _check(weights: Mapping[str, Tensor], model: nn.Module, path: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in expected.items():
        if name not in weights:
            if name == DECODER:
                continue
            raise UserError(f"{path} has no tensor {name}, expected with shape {list(shape)}")
        if tuple(weights[name].shape) != shape:
            raise UserError(
                f"{path}: {name} has shape {list(weights[name].shape)}, expected {list(shape)}; "
                "give the sizes of the model that it was trained as"
            )
    unknown = sorted(set(weights) - set(expected))
    if unknown:
        raise UserError(f"{path} has tensors that this model does not: {', '.join(unknown[:5])}")
    if DECODER in weights and not torch.equal(weights[DECODER], weights[EMBEDDING]):
        raise UserError(
            f"{path}: {DECODER} is not the embedding, so the model was trained untied; this one "
            "ties the two"
        )
