"""Initialisation `full_megatron` of ModernBERT (AnswerDotAI/ModernBERT, initialization.py).

    matrices    normal of sigma 0.02 cut at 2 sigma
    attn.Wo, mlp.Wo    sigma / sqrt(2 layers): what is added to the residual stream
    norms       1
    decoder.bias       uniform in +-1 / sqrt(hidden), PyTorch's default: left alone upstream too

Each parameter is drawn from its own generator, keyed by (seed, name), on the CPU: the same weights
on every device and whatever else the model contains.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from schemas.keyed import key64, keyed
from trainer.model import ModelConfig, ModernBert


def build(config: ModelConfig, seed: int, device: torch.device | str = "cpu") -> ModernBert:
    """A new model on `device`, initialised."""
    with torch.device("meta"):
        model = ModernBert(config)
    model.to_empty(device=device)
    model.tie_weights()
    initialise(model, seed)
    return model


@torch.no_grad()
def initialise(model: ModernBert, seed: int) -> None:
    """Set every parameter; before the model is sharded."""
    for name, parameter in model.named_parameters():
        generator = torch.Generator().manual_seed(keyed(seed, key64(name)) >> 1)
        value = torch.empty(parameter.shape, dtype=parameter.dtype)
        _draw(name, value, model.config, generator)
        parameter.copy_(value)


def _draw(name: str, value: torch.Tensor, config: ModelConfig, generator: torch.Generator) -> None:
    if name == "decoder.bias":
        bound = config.hidden_size**-0.5
        value.uniform_(-bound, bound, generator=generator)
    elif value.ndim == 1:
        value.fill_(1.0)
    else:
        sigma = config.initializer_range
        if name.endswith((".attn.Wo.weight", ".mlp.Wo.weight")):
            sigma /= math.sqrt(2 * config.num_layers)
        cut = config.initializer_cutoff * sigma
        nn.init.trunc_normal_(value, 0.0, sigma, -cut, cut, generator=generator)
