"""The model: its size, its loss at the targets only, and randomness that a key decides."""

import pytest
import torch
from torch.nn import functional as F

from schemas.errors import UserError
from trainer import cross_entropy as ce
from trainer.initialise import build
from trainer.model import ModelConfig, ModernBert, Theta, num_parameters

CONFIG = ModelConfig(100, 32, 4, 2, 48)
LENGTHS = [70, 1, 9]
THETA = 10_000.0


def pack(lengths=LENGTHS, targets=8):
    generator = torch.Generator().manual_seed(0)
    ids_T = torch.randint(5, CONFIG.vocab_size, (sum(lengths),), generator=generator)
    positions_T = torch.cat([torch.arange(n) for n in lengths])
    bounds = torch.tensor([0, *lengths]).cumsum(0).int()
    at_M = torch.randperm(len(ids_T), generator=generator)[:targets].sort().values
    return ids_T, positions_T, bounds, 128, at_M, ids_T[at_M]


@pytest.mark.parametrize(
    ("hidden", "heads", "expected"), [(768, 12, 307_786_240), (384, 6, 140_897_536)]
)
def test_mmbert_has_as_many_parameters_as_published(hidden, heads, expected):
    config = ModelConfig(256_000, hidden, 22, heads, 1152)
    with torch.device("meta"):
        model = ModernBert(config)
    assert sum(p.numel() for p in model.parameters()) == num_parameters(config) == expected


def test_the_loss_is_the_sum_over_targets_and_nll_is_each_of_them():
    model, inputs = build(CONFIG, 0), pack()
    *context, targets = inputs
    logits = model.logits(*context, THETA)
    expected = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(model.nll(*inputs, THETA), expected)
    torch.testing.assert_close(model(*inputs, THETA), expected.sum())
    with torch.no_grad():
        torch.testing.assert_close(model(*inputs, THETA), expected.sum())


@pytest.mark.parametrize("rows", [3, 512])
def test_chunks_of_logits_give_the_gradients_of_all_at_once(monkeypatch, rows):
    monkeypatch.setattr(ce, "ROWS", rows)
    generator = torch.Generator().manual_seed(0)
    h, weight, bias = (
        torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in [(8, 5), (11, 5), (11,)]
    )
    target = torch.randint(11, (8,), generator=generator)
    mine = ce.summed_cross_entropy(h, weight, bias, target)
    plain = F.cross_entropy(F.linear(h, weight, bias), target, reduction="sum")
    torch.testing.assert_close(mine.double(), plain, rtol=1e-6, atol=0)
    for got, want in zip(
        torch.autograd.grad(0.7 * mine, (h, weight, bias)),
        torch.autograd.grad(0.7 * plain, (h, weight, bias)),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_documents_of_a_pack_do_not_touch():
    model = build(CONFIG, 0)
    everything = torch.arange(sum(LENGTHS))
    ids_T, positions_T, bounds, longest, _, _ = pack()
    together = model.logits(ids_T, positions_T, bounds, longest, everything, THETA)
    for ids, logits in zip(ids_T.split(LENGTHS), together.split(LENGTHS), strict=True):
        n, own = len(ids), torch.arange(len(ids))
        alone = model.logits(ids, own, torch.tensor([0, n]).int(), longest, own, THETA)
        torch.testing.assert_close(alone, logits, rtol=1e-5, atol=1e-5)


def test_each_kind_of_layer_turns_by_its_own_theta():
    model, (*context, _) = build(CONFIG, 0), pack()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3.0)
    both = model.logits(*context, 160_000.0)
    torch.testing.assert_close(model.logits(*context, Theta(160_000.0, 160_000.0)), both)
    assert not torch.allclose(model.logits(*context, Theta(160_000.0, THETA)), both)
    assert not torch.allclose(model.logits(*context, Theta(THETA, 160_000.0)), both)


def test_dropout_is_a_function_of_the_key():
    model, inputs = build(CONFIG, 0), pack()
    torch.manual_seed(1)
    first = model(*inputs, THETA, dropout_key=2**64 - 1)
    torch.manual_seed(2)
    assert torch.equal(first, model(*inputs, THETA, dropout_key=2**64 - 1))
    assert not torch.equal(first, model(*inputs, THETA, dropout_key=7))
    assert not torch.equal(first, model(*inputs, THETA))


def test_dropout_keeps_nine_tenths_and_their_mean():
    from trainer.model import _keep

    masks = [_keep(torch.empty(500, 400), 0.1, 3, layer) for layer in (0, 1)]
    for keep in masks:
        assert keep.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
        assert keep.mean().item() == pytest.approx(1.0, abs=0.005)
    assert not torch.equal(*masks)


def test_a_pack_without_targets_reaches_every_parameter_with_zero():
    model = build(CONFIG, 0)
    loss = model(*pack([2], targets=0), THETA, dropout_key=1)
    loss.backward()
    assert loss.item() == 0
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert not p.grad.any(), name


def test_bf16_autocast_stays_near_fp32():
    model, inputs = build(CONFIG, 0), pack()
    exact = model(*inputs, THETA)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(*inputs, THETA)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=2e-3)
    rounded.backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def test_initialisation_is_full_megatron():
    config = ModelConfig(2_000, 128, 4, 2, 192)
    for name, p in build(config, 0).named_parameters():
        if name == "decoder.bias":
            assert p.abs().max() <= 128**-0.5
            assert p.std().item() == pytest.approx((3 * 128) ** -0.5, rel=0.1)
        elif p.ndim == 1:
            assert (p == 1).all(), name
        else:
            sigma = 0.02 / 8**0.5 if name.endswith("Wo.weight") else 0.02
            assert p.abs().max() <= 2 * sigma, name
            # A normal cut at two sigmas has 0.88 of its spread.
            assert p.std().item() == pytest.approx(0.8796 * sigma, rel=0.03), name


def test_initial_weights_depend_on_the_seed_and_their_name_alone():
    short, long = build(CONFIG, 5), build(ModelConfig(100, 32, 4, 2, 96), 5)
    same = "model.layers.2.attn.Wqkv.weight"
    assert torch.equal(short.state_dict()[same], long.state_dict()[same])
    assert not torch.equal(short.state_dict()[same], build(CONFIG, 6).state_dict()[same])
    layers = short.model.layers
    assert not torch.equal(layers[1].attn.Wqkv.weight, layers[2].attn.Wqkv.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 34}, "hidden_size"),
        ({"local_window": 7}, "local_window"),
        ({"vocab_size": 4}, "special id"),
    ],
)
def test_sizes_that_make_no_model_are_refused(change, message):
    sizes = {
        "vocab_size": 100,
        "hidden_size": 32,
        "num_layers": 4,
        "num_heads": 2,
        "intermediate_size": 48,
    }
    with pytest.raises(UserError, match=message):
        ModelConfig(**(sizes | change)).validate()
