"""Import: a `transformers` directory of ModernBERT as this project's model, weights bit-equal.

Reads config.json (as transformers 4 or 5 writes it) and model.safetensors or pytorch_model.bin,
from local files; transformers itself is not needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from schemas.digest import Json
from schemas.errors import UserError
from trainer.model import ModelConfig, ModernBert
from trainer.theta import Theta, theta_of

# What the model here does not have, and the value that means so.
ABSENT: dict[str, Json] = {
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "classifier_bias": False,
    "hidden_activation": "gelu",
    "classifier_activation": "gelu",
}


def load(directory: Path) -> tuple[ModernBert, Theta]:
    """The model in fp32 on the CPU, and the base of its rotary angles.

    Raises UserError when the directory holds no ModernBERT with a masked-language-model head.
    """
    config = read_config(directory)
    weights = {name: tensor.float() for name, tensor in _read_weights(directory).items()}
    weights["decoder.weight"] = weights.get(
        "decoder.weight", weights.get("model.embeddings.tok_embeddings.weight", torch.empty(0))
    )
    with torch.device("meta"):
        model = ModernBert(config)
    try:
        model.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        raise UserError(
            f"the weights in {directory} are not those of a ModernBERT of its config.json with a "
            f"masked-language-model head: {' '.join(str(error).split())[:300]}"
        ) from error
    model.tie_weights()
    return model, read_theta(directory)


def read_config(directory: Path) -> ModelConfig:
    """The sizes in config.json; UserError for anything but a ModernBERT of this kind."""
    raw = _read_json(directory)
    if raw.get("model_type") != "modernbert":
        raise UserError(
            f"{directory / 'config.json'} says model_type {raw.get('model_type')!r}: "
            "only 'modernbert' can be read"
        )
    for key, value in ABSENT.items():
        if raw.get(key, value) != value:
            raise UserError(
                f"{directory / 'config.json'} says {key} = {raw[key]!r}; this model has {value!r}"
            )
    config = ModelConfig(
        vocab_size=raw["vocab_size"],
        hidden_size=raw["hidden_size"],
        num_layers=raw["num_hidden_layers"],
        num_heads=raw["num_attention_heads"],
        intermediate_size=raw["intermediate_size"],
        global_every=raw.get("global_attn_every_n_layers", _global_every(raw.get("layer_types"))),
        local_window=raw.get("local_attention", 128),
        norm_eps=raw.get("norm_eps", 1e-5),
        initializer_range=raw.get("initializer_range", 0.02),
        initializer_cutoff=raw.get("initializer_cutoff_factor", 2.0),
        max_position=raw.get("max_position_embeddings", 8192),
        pad_id=raw["pad_token_id"],
        eos_id=raw["eos_token_id"],
        bos_id=raw["bos_token_id"],
        unk_id=raw.get("unk_token_id", 3),
        mask_id=raw.get("mask_token_id", 4),
        sep_id=raw["sep_token_id"],
        cls_id=raw["cls_token_id"],
    )
    config.validate()
    return config


def read_theta(directory: Path) -> Theta:
    """The rotary bases in config.json; where it is silent, those of transformers' ModernBERT."""
    return theta_of(_read_json(directory))


def _global_every(layer_types: list[str] | None) -> int:
    if layer_types is None:
        return 3
    full = [i for i, kind in enumerate(layer_types) if kind == "full_attention"]
    every = full[1] if len(full) > 1 else len(layer_types)
    if full != list(range(0, len(layer_types), every)):
        raise UserError(f"config.json: global layers {full} are not evenly spaced from 0")
    return every


def _read_json(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: name the directory of a model") from error


def _read_weights(directory: Path) -> dict[str, Tensor]:
    if (directory / "model.safetensors").exists():
        return load_file(directory / "model.safetensors")
    if (directory / "pytorch_model.bin").exists():
        return torch.load(directory / "pytorch_model.bin", map_location="cpu", weights_only=True)
    raise UserError(f"{directory} holds neither model.safetensors nor pytorch_model.bin")
