"""Cross entropy of a linear layer, a few rows of logits at a time.

    loss = sum_m  logsumexp_v(z_mv) - z_m[target_m],   z_m = W h_m + b
    d loss / d z_m = softmax(z_m) - onehot(target_m)

With 256,000 words, the logits of one micro-batch would fill 7.5 GB. Here ROWS of them exist at a
time, and since the gradient of a sum needs nothing from above, the forward pass computes it while
they do: three matrix products a row instead of the four of recomputation. Logits, softmax and sums
are fp32; the products run in the precision of autocast. (`F.linear_cross_entropy` does the same,
but in bf16 it rounds the loss and is three times slower on a CPU.)

Shapes: M targets, H hidden, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

ROWS = 512  # halves the time of 128 rows at 256,000 words in fp32, and costs 0.5 GB there


def summed_cross_entropy(
    h_MH: Tensor, weight_VH: Tensor, bias_V: Tensor, target_M: Tensor
) -> Tensor:
    """The sum over targets, a float32 scalar; gradients for h, weight and bias."""
    if not torch.is_grad_enabled():
        return cross_entropy(h_MH, weight_VH, bias_V, target_M).sum()
    return _Summed.apply(h_MH, weight_VH, bias_V, target_M)


@torch.no_grad()
def cross_entropy(h_MH: Tensor, weight_VH: Tensor, bias_V: Tensor, target_M: Tensor) -> Tensor:
    """The loss of each target, float32 [M], without gradients."""
    parts = zip(h_MH.split(ROWS), target_M.split(ROWS), strict=True)
    weight = weight_VH.to(_precision(h_MH))
    return torch.cat(
        [F.cross_entropy(_logits(h, weight, bias_V), t, reduction="none") for h, t in parts]
    )


def _precision(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _logits(h_MH: Tensor, weight_VH: Tensor, bias_V: Tensor) -> Tensor:
    return F.linear(h_MH.to(weight_VH.dtype), weight_VH).float().add_(bias_V)


class _Context(FunctionCtx):
    gradients: tuple[Tensor, Tensor, Tensor]


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context, h_MH: Tensor, weight_VH: Tensor, bias_V: Tensor, target_M: Tensor
    ) -> Tensor:
        dtype = _precision(h_MH)
        weight = weight_VH.to(dtype)
        loss = torch.zeros((), device=h_MH.device)
        dh_MH = torch.empty_like(h_MH)
        dweight_VH = torch.zeros_like(weight_VH)
        dbias_V = torch.zeros_like(bias_V)
        for start in range(0, h_MH.shape[0], ROWS):
            h, target = h_MH[start : start + ROWS], target_M[start : start + ROWS, None]
            logp = _logits(h, weight, bias_V).log_softmax(-1)
            loss -= logp.gather(1, target).sum()
            dz = logp.exp_()
            dz.scatter_add_(1, target, -torch.ones_like(target, dtype=dz.dtype))
            dbias_V += dz.sum(0)
            dz = dz.to(dtype)
            dh_MH[start : start + ROWS] = dz @ weight
            dweight_VH += dz.T @ h.to(dtype)
        ctx.gradients = dh_MH, dweight_VH, dbias_V
        return loss

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: _Context, upstream: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        dh_MH, dweight_VH, dbias_V = ctx.gradients
        del ctx.gradients
        # In place: the gradient of 256,000 x 768 weights is 0.8 GB, once is enough.
        return dh_MH.mul_(upstream), dweight_VH.mul_(upstream), dbias_V.mul_(upstream), None
