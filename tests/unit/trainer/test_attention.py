"""Attention sees its own document and window only, and agrees with float64, gradients too."""

import pytest
import torch

from trainer import attention as module
from trainer.attention import attention

HALF = 64
PACKS = [
    [1],
    [65],
    [64, 1, 65, 128, 129, 130, 1, 1],
    [300, 2, 63, 191, 7],
    [HALF] * 5,
    [130, 0, 0, 5, 0],  # bounds filled up by documents of no tokens
]


def bounds(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)


def reference(q, k, v, lengths: list[int], half_window: int | None) -> torch.Tensor:
    """The definition, one T x T mask, float64."""
    document = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    position = torch.arange(document.numel())
    seen = document[:, None] == document
    if half_window is not None:
        seen &= (position[:, None] - position).abs() <= half_window
    q, k, v = (x.double().transpose(0, 1) for x in (q, k, v))
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    return (scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v).transpose(0, 1)


def packed(lengths: list[int], heads: int = 2, dim: int = 8, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(sum(lengths))
    x = torch.randn(4, sum(lengths), heads, dim, generator=generator, dtype=dtype)
    return [part.requires_grad_() for part in x[:3].clone().unbind()], x[3]


@pytest.mark.parametrize("half_window", [None, HALF, 3])
@pytest.mark.parametrize("lengths", PACKS, ids=str)
def test_outputs_and_gradients_are_those_of_the_definition(lengths, half_window):
    qkv, upstream = packed(lengths)
    got = attention(*qkv, bounds(lengths), 512, half_window)
    want = reference(*qkv, lengths, half_window)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    gradients = zip(
        torch.autograd.grad(got, qkv, upstream),
        torch.autograd.grad(want, qkv, upstream),
        strict=True,
    )
    for mine, theirs in gradients:
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("half_window", [None, HALF])
def test_fp32_stays_within_rounding_of_float64(half_window):
    lengths = [200, 1, 129, 64]
    qkv, _ = packed(lengths, heads=3, dim=64, dtype=torch.float32)
    got = attention(*qkv, bounds(lengths), 512, half_window)
    want = reference(*qkv, lengths, half_window)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=2e-6)


@pytest.mark.parametrize("half_window", [None, HALF])
def test_a_neighbour_in_the_pack_changes_nothing(half_window):
    (q, k, v), _ = packed([130, 90])
    alone = attention(q[:130], k[:130], v[:130], bounds([130]), 512, half_window)
    beside = attention(q, k, v, bounds([130, 90]), 512, half_window)[:130]
    torch.testing.assert_close(alone, beside, rtol=1e-12, atol=1e-14)


def test_the_window_counts_its_edges():
    """A key 64 tokens away is seen, one 65 away is not."""
    (q, k, v), _ = packed([200])
    upstream = torch.zeros_like(v)
    upstream[100] = 1.0
    out = attention(q, k, v, bounds([200]), 512, HALF)
    (gradient,) = torch.autograd.grad(out, v, upstream)
    reached = gradient.abs().sum((1, 2)).nonzero().flatten().tolist()
    assert reached == list(range(100 - HALF, 100 + HALF + 1))


def test_long_documents_take_the_fused_form_with_the_same_result(monkeypatch):
    lengths = [40, 3, 25]
    qkv, _ = packed(lengths)
    plain = attention(*qkv, bounds(lengths), 512)
    monkeypatch.setattr(module, "PLAIN_UP_TO_TOKENS", 10)
    torch.testing.assert_close(attention(*qkv, bounds(lengths), 512), plain, rtol=1e-10, atol=1e-12)


def test_a_pack_of_no_tokens_is_no_error():
    (q, k, v), _ = packed([0])
    for half_window in (None, HALF):
        assert attention(q, k, v, bounds([0, 0]), 512, half_window).shape == (0, 2, 8)
