"""Fused kernels are found by what they can do; here none runs, so stand-ins say what was asked."""

import sys
import types

import pytest
import torch

from trainer import attention as module
from trainer import kernels
from trainer.attention import attention
from trainer.kernels import KERNELS, kernel, refusal
from trainer.model import ModelConfig, ModernBert

BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def nothing_found_yet(monkeypatch):
    monkeypatch.setattr(kernels, "_FOUND", {})


@pytest.mark.parametrize("windowed", [True, False])
def test_the_one_inside_torch_takes_a_pack_as_we_lay_it(windowed):
    """Shapes and gradients on `meta`, where it runs without a device."""
    run = KERNELS["torch"](windowed)
    qkv = torch.empty(300, 3, 2, 64, dtype=BF16, device="meta", requires_grad=True)
    bounds = torch.empty(4, dtype=torch.int32, device="meta")
    out = run(*qkv.unbind(1), bounds, 128, 64 if windowed else None)
    assert out.shape == (300, 2, 64)
    assert out.dtype == BF16
    out.sum().backward()
    assert qkv.grad.shape == qkv.shape


@pytest.mark.parametrize(("half", "window"), [(64, (64, 64)), (None, (-1, -1))])
def test_flash_attn_is_asked_for_the_window_on_both_sides(monkeypatch, half, window):
    asked = {}

    def flash_attn_varlen_func(q, k, v, cu_q, cu_k, longest_q, longest_k, window_size):
        asked.update(longest=(longest_q, longest_k), window=window_size, same=cu_q is cu_k)
        return v

    stand_in = types.SimpleNamespace(flash_attn_varlen_func=flash_attn_varlen_func)
    monkeypatch.setitem(sys.modules, "flash_attn", stand_in)
    q = torch.zeros(5, 2, 8)
    assert KERNELS["flash-attn"](half is not None)(q, q, q, torch.tensor([0, 5]), 9, half) is q
    assert asked == {"longest": (9, 9), "window": window, "same": True}


def test_a_torch_without_windows_still_serves_global_layers(monkeypatch):
    def varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False):
        assert not is_causal
        return value

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    assert KERNELS["torch"](True) is None
    q = torch.zeros(5, 2, 8)
    assert KERNELS["torch"](False)(q, q, q, torch.tensor([0, 5]), 9, None) is q


def test_a_processor_and_full_precision_have_none():
    assert kernel("cpu", BF16, True) is None
    assert kernel("cuda", torch.float32, True) is None


def test_one_that_does_not_run_is_named_and_the_next_is_taken(monkeypatch):
    def broken(*_):
        raise RuntimeError("no kernel image is available\nfor this device")

    found = {"first": lambda windowed: broken, "second": lambda windowed: lambda q, *_: q}
    monkeypatch.setattr(kernels, "KERNELS", found)
    monkeypatch.setattr(
        kernels, "refusal", lambda run, dtype, windowed: refusal(run, dtype, windowed, "cpu")
    )
    with pytest.warns(UserWarning, match="without first, which does not run: no kernel image"):
        run = kernel("cuda", BF16, True)
    assert run(1) == 1
    assert kernel("cuda", BF16, True) is run


def test_without_a_device_the_trial_refuses():
    if not torch.cuda.is_available():
        assert refusal(KERNELS["torch"](True), BF16, True, "cpu") is not None


def _sum(q, k, v, cu_seqlens, longest, half_window):
    return q + k + v


def test_compiled_layers_break_nowhere(monkeypatch):
    """`torch.compile` goes through a layer whole, the kernel's choice included."""
    kernels._FOUND.update({(BF16, windowed): _sum for windowed in (True, False)})
    monkeypatch.setattr(
        module, "kernel", lambda _, dtype, windowed: kernel("cuda", dtype, windowed)
    )
    model = ModernBert(ModelConfig(100, 64, 4, 2, 48))
    for layer in model.model.layers:
        layer.compile(backend="eager", fullgraph=True)
    bounds = torch.tensor([0, 40, 100], dtype=torch.int32)
    asked = torch.arange(9)
    with torch.autocast("cpu", BF16):
        loss = model(
            torch.arange(100), torch.arange(100), bounds, 128, asked, asked, 10_000.0, dropout_key=3
        )
    loss.backward()
    assert model.model.layers[1].attn.Wqkv.weight.grad.isfinite().all()


def test_attention_hands_over_what_it_is_given(monkeypatch):
    asked = []
    monkeypatch.setattr(
        module, "kernel", lambda *key: asked.append(key) or (lambda q, k, v, *rest: rest)
    )
    q, bounds = torch.zeros(5, 2, 8, dtype=BF16), torch.tensor([0, 5])
    assert attention(q, q, q, bounds, 9, 64) == (bounds, 9, 64)
    assert attention(q, q, q, bounds, 9) == (bounds, 9, None)
    assert asked == [("cpu", BF16, True), ("cpu", BF16, False)]
