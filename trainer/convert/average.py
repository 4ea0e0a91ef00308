"""Weighted averages of models (Wortsman et al. 2022, arXiv 2203.05482), tensor by tensor.

    average      x = sum w_i x_i / sum w_i
    exponential  w_i = d^(n - 1 - i): the last of n is the most recent, each before it counts d less

Identical tensors may differ from their mean in the last bit: `merge` never asks for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def exponential_weights(count: int, decay: float) -> list[float]:
    """Weights of `count` models, the most recent last: a decay of 1 is the plain average."""
    return [decay ** (count - 1 - i) for i in range(count)]


def average(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean in float64; weights need not sum to 1."""
    total = math.fsum(weights)
    mean = torch.zeros(tensors[0].shape, dtype=torch.float64)
    for tensor, weight in zip(tensors, weights, strict=True):
        mean.add_(tensor, alpha=weight / total)
    return mean
