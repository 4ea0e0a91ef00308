"""A small model is every second channel and head of a base one, and keeps what it can of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM

from schemas.errors import UserError
from trainer.convert import from_transformers, to_transformers
from trainer.convert.shrink import init_small, shrink
from trainer.initialise import build
from trainer.model import ModelConfig, ModernBert, Theta, num_parameters

BASE = ModelConfig(96, 32, 4, 4, 40)


def logits(model: ModernBert) -> torch.Tensor:
    ids = torch.arange(5, 45) % 96
    bounds = torch.tensor([0, 40], dtype=torch.int32)
    with torch.no_grad():
        return model.logits(ids, torch.arange(40), bounds, 64, torch.arange(40), Theta(1e4, 1e4))


def doubled(small: ModernBert) -> ModernBert:
    """A base model that computes what `small` does: each channel and each head stands twice."""
    config = ModelConfig(96, 32, 4, 4, 40, norm_eps=small.config.norm_eps)
    wide = build(config, 0)
    heads, width = small.config.num_heads, small.config.head_dim
    state = {}
    for name, tensor in small.state_dict().items():
        if name == "decoder.bias":
            state[name] = tensor
        elif name.endswith("Wqkv.weight"):
            per_head = tensor.view(3, heads, width, -1).repeat_interleave(2, 1)
            state[name] = per_head.flatten(0, 2).repeat_interleave(2, 1) / 2
        elif name.endswith("attn.Wo.weight"):
            per_head = tensor.view(-1, heads, width).repeat_interleave(2, 1)
            state[name] = per_head.flatten(1).repeat_interleave(2, 0) / 2
        elif name.endswith("mlp.Wo.weight") or tensor.ndim == 1:
            state[name] = tensor.repeat_interleave(2, 0)
        elif name == "head.dense.weight":
            state[name] = tensor.repeat_interleave(2, 0).repeat_interleave(2, 1) / 2
        else:
            state[name] = tensor.repeat_interleave(2, 1) / 2
    # The embedding enters through a norm, whose eps is relative to its scale.
    wide.load_state_dict(state)
    return wide


def test_a_base_whose_channels_come_in_pairs_is_shrunk_without_loss() -> None:
    small = build(ModelConfig(96, 16, 4, 2, 40, norm_eps=1e-12), 3)
    shrunk = shrink(doubled(small), 16, 2, "linear")
    assert shrunk.config == small.config
    assert torch.equal(
        shrunk.model.layers[1].attn.Wqkv.weight, small.model.layers[1].attn.Wqkv.weight
    )
    torch.testing.assert_close(logits(shrunk), logits(small), rtol=0, atol=0)
    torch.testing.assert_close(logits(doubled(small)), logits(small), rtol=1e-4, atol=1e-5)


def test_every_second_channel_and_whole_heads() -> None:
    base = build(BASE, 1)
    small = shrink(base, 16, 2, "none")
    attention, source = small.model.layers[2].attn, base.model.layers[2].attn
    # Heads 0 and 2 of 4, each of 8 dimensions; q, k and v in turn.
    rows = [part * 32 + head * 8 + i for part in range(3) for head in (0, 2) for i in range(8)]
    assert torch.equal(attention.Wqkv.weight, source.Wqkv.weight[rows][:, ::2])
    assert torch.equal(attention.Wo.weight, source.Wo.weight[::2][:, rows[:16]])
    assert torch.equal(small.decoder.weight, base.decoder.weight[:, ::2])
    assert torch.equal(small.decoder.bias, base.decoder.bias)
    assert small.decoder.weight is small.model.embeddings.tok_embeddings.weight
    assert small.config.intermediate_size == 40
    assert sum(p.numel() for p in small.parameters()) == num_parameters(small.config)


@pytest.mark.parametrize(("rescale", "factor"), [("none", 1), ("sqrt", 2**0.5), (3.0, 3.0)])
def test_only_sums_over_the_halved_width_are_scaled(rescale: str | float, factor: float) -> None:
    base, plain = build(BASE, 1), shrink(build(BASE, 1), 16, 2, "none")
    for name, tensor in shrink(base, 16, 2, rescale).state_dict().items():
        untouched = tensor.ndim == 1 or name.endswith("mlp.Wo.weight")
        expected = plain.state_dict()[name] * (1 if untouched else factor)
        torch.testing.assert_close(tensor, expected)


def test_the_directory_says_what_it_holds_and_loads(tmp_path: Path) -> None:
    to_transformers.export(build(BASE, 1), tmp_path / "base", 160_000.0, 10_000.0)
    init_small(tmp_path / "base", tmp_path / "small", 16, 2)
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    found = [config[k] for k in ("hidden_size", "num_attention_heads", "intermediate_size")]
    assert found == [16, 2, 40]
    assert from_transformers.read_theta(tmp_path / "small") == Theta(160_000.0, 10_000.0)
    assert AutoModelForMaskedLM.from_pretrained(tmp_path / "small").num_parameters() > 0


@pytest.mark.parametrize(("hidden", "heads"), [(24, 3), (16, 4), (64, 8), (0, 0)])
def test_sizes_that_are_no_even_part_are_refused(hidden: int, heads: int) -> None:
    with pytest.raises(UserError, match="32 and 4 divided by one whole number"):
        shrink(build(BASE, 1), hidden, heads)


@pytest.mark.parametrize("rescale", ["double", 0.0, float("nan")])
def test_a_rescale_without_a_meaning_is_refused(rescale: str | float) -> None:
    with pytest.raises(UserError, match="none, sqrt, linear"):
        shrink(build(BASE, 1), 16, 2, rescale)
