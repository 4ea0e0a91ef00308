"""Attention over a pack: documents lie end to end, and no token sees another document.

    o_i = sum_j softmax_j(q_i . k_j / sqrt(D)) v_j
    j in the document of i (global layers), and also |i - j| <= half_window (local layers)

A half window of 64 is 129 keys, the token's own among them. In: q, k, v of T packed tokens and the
documents' bounds. Out: o, in the same shape. CUDA in bf16 or fp16 runs flash-attn where it is
installed, else the FlashAttention inside torch; everything else runs the plain form below, which
needs no kernel and holds no T x T matrix for local layers. All agree with a float64 reference.

Shapes: T tokens, N heads, D head dimension, C blocks of W = half_window queries.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.kernels import kernel

# Up to here softmax(q k') v in two matrix products; fused beyond, where N L^2 scores would not fit.
# On a CPU the products are as fast in fp32 and 2.5 times as fast in bf16.
PLAIN_UP_TO_TOKENS = 1024
# Blocks of one pass of local layers: their scores stay in a core's cache.
BLOCKS_AT_ONCE = 16


def attention(
    q_TND: Tensor,
    k_TND: Tensor,
    v_TND: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    half_window: int | None = None,
) -> Tensor:
    """Attend within documents; token t of document d: cu_seqlens[d] <= t < cu_seqlens[d + 1].

    `cu_seqlens` [documents + 1] int32 ends at T and may repeat T (documents of no tokens), so that
    its shape can be fixed. `max_seqlen` is any bound on the lengths: a constant of the phase, since
    one taken from the batch would cost a recompilation each step.
    """
    fused = kernel(q_TND.device.type, q_TND.dtype, half_window is not None)
    if fused is not None:
        return fused(q_TND, k_TND, v_TND, cu_seqlens, max_seqlen, half_window)
    if half_window is None or max_seqlen <= half_window + 1:
        return _by_document(q_TND, k_TND, v_TND, cu_seqlens)
    return _banded(q_TND, k_TND, v_TND, cu_seqlens, half_window)


def _by_document(q_TND: Tensor, k_TND: Tensor, v_TND: Tensor, cu_seqlens: Tensor) -> Tensor:
    lengths = [length for length in cu_seqlens.diff().tolist() if length]
    if not lengths:
        return v_TND
    # `split`, not slices: the gradient of each slice would be a zero-filled copy of the whole pack.
    q, k, v = (x.transpose(0, 1).contiguous().split(lengths, 1) for x in (q_TND, k_TND, v_TND))
    return torch.cat([_full(*qkv) for qkv in zip(q, k, v, strict=True)], 1).transpose(0, 1)


def _full(q_NLD: Tensor, k_NLD: Tensor, v_NLD: Tensor) -> Tensor:
    if q_NLD.shape[1] > PLAIN_UP_TO_TOKENS:
        return F.scaled_dot_product_attention(q_NLD[None], k_NLD[None], v_NLD[None])[0]
    scores = (q_NLD * q_NLD.shape[-1] ** -0.5) @ k_NLD.transpose(-1, -2)
    return scores.softmax(-1) @ v_NLD


def _banded(
    q_TND: Tensor, k_TND: Tensor, v_TND: Tensor, cu_seqlens: Tensor, half_window: int
) -> Tensor:
    """Blocks of W queries against the W keys before them, their own and the W after."""
    num_tokens, num_heads, head_dim = q_TND.shape
    w = half_window
    num_blocks = -(-num_tokens // w)
    tail = num_blocks * w - num_tokens
    bias_CWK = _band_bias(cu_seqlens, num_tokens, w).to(q_TND.dtype)

    q_NTD = F.pad((q_TND * head_dim**-0.5).transpose(0, 1), (0, 0, 0, tail))
    q_CNWD = q_NTD.view(num_heads, num_blocks, w, head_dim).transpose(0, 1)

    def neighbours(x_TND: Tensor) -> Tensor:
        x_NTD = F.pad(x_TND.transpose(0, 1), (0, 0, w, w + tail))
        x_NCWD = x_NTD.view(num_heads, num_blocks + 2, w, head_dim)
        return torch.cat([x_NCWD[:, :-2], x_NCWD[:, 1:-1], x_NCWD[:, 2:]], 2).transpose(0, 1)

    blocks = (q_CNWD, neighbours(k_TND), neighbours(v_TND), bias_CWK[:, None])
    parts = zip(*(x.split(BLOCKS_AT_ONCE) for x in blocks), strict=True)
    o = torch.cat([(q @ k.transpose(-1, -2) + bias).softmax(-1) @ v for q, k, v, bias in parts])
    return o.transpose(1, 2).reshape(-1, num_heads, head_dim)[:num_tokens]


def _band_bias(cu_seqlens: Tensor, num_tokens: int, w: int) -> Tensor:
    """[C, W, 3 W] float32: 0 where a query sees a key, else a large negative number.

    Every query sees a key: those that fill the last block are a document of their own.
    """
    device = cu_seqlens.device
    tail = -num_tokens % w
    documents = torch.arange(cu_seqlens.numel() - 1, device=device)
    of_token = documents.repeat_interleave(cu_seqlens.diff(), output_size=num_tokens)
    of_block = F.pad(of_token, (w, w + tail), value=-1).view(-1, w)
    of_key = torch.cat([of_block[:-2], of_block[1:-1], of_block[2:]], 1)
    offset = torch.arange(3 * w, device=device) - w - torch.arange(w, device=device)[:, None]
    seen = (of_block[1:-1, :, None] == of_key[:, None, :]) & (offset.abs() <= w)
    return torch.zeros(seen.shape, device=device).masked_fill_(~seen, -1e30)
