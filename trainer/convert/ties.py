"""TIES merging (Yadav et al. 2023, arXiv 2306.01708) of models that began as one, tensor by tensor.

    t_i   = x_i - base                               what model i learned
    trim    t_i <- t_i where |t_i| is among the top `density` of its scope, else 0
    elect   s = sign(sum w_i t_i)                    where the models disagree, the heavier side
    mean    m = sum w_i t_i / sum w_i, over the models with sign(t_i) = s
    x     = base + lambda m

The scope of trimming is a tensor or a whole model. Trimming is by threshold, so values of equal
magnitude stay or go together. The k-th largest magnitude is found exactly by counting: bits of a
float32 that is not negative are ordered as its values are, so one count of their upper halves and
one of the lower halves within the upper half that holds it are enough, whatever the size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 1 << 24  # values counted at once: numpy counts in 8 bytes a value


def ties(
    base: Tensor,
    deltas: Sequence[Tensor],
    thresholds: Sequence[float],
    weights: Sequence[float],
    lam: float,
) -> Tensor:
    """One merged tensor, float32, from deltas in float32 and the magnitude each is trimmed at."""
    trimmed = [
        torch.where(delta.abs() >= threshold, delta, 0.0)
        for delta, threshold in zip(deltas, thresholds, strict=True)
    ]
    mass = sum_of(trimmed, weights)
    elected = torch.where(mass >= 0, 1.0, -1.0)
    agrees = [delta.sign() == elected for delta in trimmed]
    kept = [delta * agree for delta, agree in zip(trimmed, agrees, strict=True)]
    weight = sum_of(agrees, weights)
    mean = torch.where(weight > 0, sum_of(kept, weights) / weight, 0.0)
    return base.float() + lam * mean


def sum_of(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = torch.zeros(tensors[0].shape)
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor, alpha=weight)
    return total


def threshold(deltas: Callable[[], Iterable[Tensor]], num_values: int, density: float) -> float:
    """The magnitude from which a value is among the int(density x num_values) largest.

    `deltas` is called twice and gives the float32 tensors of the scope, one at a time.
    """
    k = int(density * num_values)
    if k == 0:
        return float("inf")
    upper, k = _bin_of(lambda bits: bits >> np.uint32(16), deltas, k)
    lower, _ = _bin_of(
        lambda bits: bits[bits >> np.uint32(16) == upper] & np.uint32(0xFFFF), deltas, k
    )
    return float(np.uint32(upper << 16 | lower).view(np.float32))


def _bin_of(
    halves: Callable[[NDArray[np.uint32]], NDArray[np.uint32]],
    deltas: Callable[[], Iterable[Tensor]],
    k: int,
) -> tuple[int, int]:
    """The 16-bit half of the k-th largest, and its place among the values of that half."""
    counts = np.zeros(1 << 16, np.int64)
    for delta in deltas():
        for chunk in delta.flatten().split(CHUNK):
            bits = chunk.abs().numpy().view(np.uint32)
            counts += np.bincount(halves(bits), minlength=counts.size)
    from_above = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_above, k))
    half = counts.size - 1 - place
    return half, k - int(from_above[place] - counts[half])
