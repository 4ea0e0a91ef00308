"""A small model that starts from a base one: every second channel, whole heads, all layers.

    channels   c = 0, s, 2s, ...           s = base hidden size / small hidden size
    heads      the same stride over heads, each with all its dimensions and its own q, k, v
    kept       layers, intermediate size, vocabulary, decoder bias

mmBERT-small (384 channels, 6 heads) started so from mmBERT-base (768, 12); the rule itself is
published nowhere. A sum over half the channels is smaller, so the matrices that sum over channels
or heads (Wqkv, attn.Wo, mlp.Wi, head.dense, and the embedding, which is the decoder) can be scaled:
by sqrt(s), which keeps the variance of a sum of unrelated terms, by s, which keeps a sum of equal
ones, or by any factor. mlp.Wo sums over the intermediate size and stays as it is.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from schemas.errors import UserError
from trainer.convert import from_transformers, to_transformers
from trainer.convert.output import replaceable
from trainer.model import ModelConfig, ModernBert

Rescale = float | Literal["none", "sqrt", "linear"]


def init_small(
    source: Path,
    output: Path,
    hidden_size: int = 384,
    num_heads: int = 6,
    rescale: Rescale = "sqrt",
) -> None:
    """Write the small model of a `transformers` directory as another, with its tokenizer.

    Raises UserError when the sizes are not the source's divided by one whole number, or when
    something else than a model would be replaced.
    """
    output = replaceable(output, [source])
    model, theta = from_transformers.load(source)
    small = shrink(model, hidden_size, num_heads, rescale)
    tokenizer = source if (source / "tokenizer.json").exists() else None
    to_transformers.export(small, output, theta.full, theta.local, tokenizer)


def shrink(
    model: ModernBert, hidden_size: int, num_heads: int, rescale: Rescale = "sqrt"
) -> ModernBert:
    """The strided copy of a model, with weights of its own."""
    config = model.config
    stride = stride_of(config, hidden_size, num_heads)
    factor = {"none": 1.0, "sqrt": math.sqrt(stride), "linear": float(stride)}.get(
        str(rescale), rescale
    )
    if isinstance(factor, str) or not 0 < factor < math.inf:
        raise UserError(f"rescale {rescale!r}: give none, sqrt, linear or a positive factor")
    weights = {
        name: _slice(name, tensor, config, stride, factor)
        for name, tensor in model.state_dict().items()
    }
    with torch.device("meta"):
        small = ModernBert(
            dataclasses.replace(config, hidden_size=hidden_size, num_heads=num_heads)
        )
    small.load_state_dict(weights, strict=True, assign=True)
    small.tie_weights()
    return small


def _slice(name: str, tensor: Tensor, config: ModelConfig, stride: int, factor: float) -> Tensor:
    heads = _rows_of_heads(config, stride)
    if name == "decoder.bias":
        return tensor.clone()
    if tensor.ndim == 1:  # norms
        return tensor[::stride].clone()
    if name.endswith(".attn.Wqkv.weight"):
        q_k_v = torch.cat([heads + part * config.hidden_size for part in range(3)])
        return tensor[q_k_v, ::stride] * factor
    if name.endswith(".attn.Wo.weight"):
        return tensor[::stride][:, heads] * factor
    if name.endswith(".mlp.Wo.weight"):
        return tensor[::stride].clone()
    if name == "head.dense.weight":
        return tensor[::stride, ::stride] * factor
    return tensor[:, ::stride] * factor  # mlp.Wi and the embedding


def _rows_of_heads(config: ModelConfig, stride: int) -> Tensor:
    """The rows of q (or k, or v) that belong to every `stride`-th head."""
    rows = torch.arange(config.hidden_size).view(config.num_heads, config.head_dim)
    return rows[::stride].flatten()


def stride_of(config: ModelConfig, hidden_size: int, num_heads: int) -> int:
    """Every how many-th channel and head is kept of a model; UserError where that is no number."""
    stride = config.hidden_size // max(1, hidden_size)
    if stride < 1 or (stride * hidden_size, stride * num_heads) != (
        config.hidden_size,
        config.num_heads,
    ):
        raise UserError(
            f"hidden size {hidden_size} and {num_heads} heads are not the source's "
            f"{config.hidden_size} and {config.num_heads} divided by one whole number: heads are "
            "taken whole, every second (third, ...) one with every second channel"
        )
    return stride
