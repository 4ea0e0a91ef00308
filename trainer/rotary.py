"""Rotary positions (Su et al. 2021), rotate-half form, over the whole head dimension.

    [x1; x2] at position t  ->  [x1 cos - x2 sin; x2 cos + x1 sin],  angle_i = t theta^(-2i / D)

Only the queries and keys of [T, 3, N, D] turn; a document's positions start at 0.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def rotation(positions_T: Tensor, max_position: int, head_dim: int, theta: float) -> Tensor:
    """cos and sin of each token's angles, float32 [T, 2, D / 2]."""
    return _table(max_position, head_dim, theta, positions_T.device).index_select(0, positions_T)


@lru_cache(maxsize=8)
def _table(max_position: int, head_dim: int, theta: float, device: torch.device) -> Tensor:
    # As transformers computes them, in float32: the logits of an export agree to rounding.
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    angle = torch.arange(max_position).float()[:, None] * (1.0 / theta**exponent)
    return torch.stack([angle.cos(), angle.sin()], 1).to(device)


def rotate(qkv_T3ND: Tensor, rotation_T2D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys turned, values as they are: three [T, N, D] in the dtype of the input."""
    q_TND, k_TND, v_TND = _Rotate.apply(qkv_T3ND, rotation_T2D).unbind(1)
    return q_TND, k_TND, v_TND


class _Context(FunctionCtx):
    saved_tensors: tuple[Tensor]


class _Rotate(torch.autograd.Function):
    """The gradient of a turn is the turn back: nothing is kept for it but the angles."""

    @staticmethod
    def forward(ctx: _Context, qkv_T3ND: Tensor, rotation_T2D: Tensor) -> Tensor:
        ctx.save_for_backward(rotation_T2D)
        return _turned(qkv_T3ND, *rotation_T2D[:, None, None].unbind(3))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: _Context, upstream_T3ND: Tensor
    ) -> tuple[Tensor, None]:
        (rotation_T2D,) = ctx.saved_tensors
        cos, sin = rotation_T2D[:, None, None].unbind(3)
        return _turned(upstream_T3ND, cos, -sin), None


def _turned(x_T3ND: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    out = torch.empty_like(x_T3ND)
    out[:, 2] = x_T3ND[:, 2]
    first, second = x_T3ND[:, :2].chunk(2, -1)
    out_first, out_second = out[:, :2].chunk(2, -1)
    out_first.copy_(first * cos - second * sin)
    out_second.copy_(second * cos + first * sin)
    return out
