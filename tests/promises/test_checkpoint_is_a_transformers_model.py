"""I5: a checkpoint is a `transformers` model, both ways: equal weights, logits and gradients."""

import pytest
import torch
from transformers import AutoModelForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

from trainer.convert.from_transformers import load
from trainer.convert.to_transformers import compare_logits, export
from trainer.initialise import build
from trainer.model import ModelConfig, ModernBert, Theta

CONFIG = ModelConfig(512, 96, 7, 3, 128)
LENGTHS = [64, 1, 65, 128, 129, 130, 300]  # around both edges of the window
THETAS = [10_000.0, 160_000.0]


def documents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(5, CONFIG.vocab_size, (n,), generator=generator) for n in LENGTHS]


def lively(model: ModernBert) -> ModernBert:
    """Weights large enough that attention and norms matter, as in a trained model."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.1)
    return model


@pytest.mark.parametrize("theta", THETAS)
def test_what_we_write_transformers_reads(tmp_path, theta):
    model = lively(build(CONFIG, 0))
    export(model, tmp_path / "model", theta, theta)

    theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / "model")
    assert theirs.state_dict().keys() == model.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert compare_logits(model, tmp_path / "model", documents()) < 1e-5


@pytest.mark.parametrize("theta", THETAS)
def test_what_transformers_writes_we_read(tmp_path, theta):
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": theta}
    theirs = ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=512,
            hidden_size=96,
            num_hidden_layers=7,
            num_attention_heads=3,
            intermediate_size=128,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=2,
            sep_token_id=1,
            cls_token_id=1,
            rope_parameters={"full_attention": dict(rope), "sliding_attention": dict(rope)},
        )
    )
    theirs.save_pretrained(tmp_path)

    model, read = load(tmp_path)
    assert read == Theta(theta, theta)
    model.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(lively(model).state_dict(), strict=True)
    theirs.save_pretrained(tmp_path)
    assert compare_logits(model, tmp_path, documents()) < 1e-5


@pytest.mark.parametrize("theta", THETAS)
def test_gradients_are_those_of_transformers(tmp_path, theta):
    model = lively(build(CONFIG, 0))
    export(model, tmp_path / "model", theta, theta)
    theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / "model")

    bounds = torch.tensor([0, *LENGTHS]).cumsum(0)
    ids_T = torch.cat(documents())
    positions_T = torch.cat([torch.arange(n) for n in LENGTHS])
    targets_M = torch.arange(0, len(ids_T), 3)
    shown_T = ids_T.index_fill(0, targets_M, CONFIG.mask_id)
    loss = model(shown_T, positions_T, bounds.int(), 512, targets_M, ids_T[targets_M], theta)
    loss.backward()

    labels_T = torch.full_like(ids_T, -100).index_copy(0, targets_M, ids_T[targets_M])
    total = 0.0
    for shown, labels in zip(shown_T.split(LENGTHS), labels_T.split(LENGTHS), strict=True):
        if (labels != -100).any():  # document by document: packed, transformers leaks
            logits = theirs(input_ids=shown[None]).logits[0]
            part = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
            part.backward()
            total += part.item()

    assert loss.item() == pytest.approx(total, rel=1e-5)
    expected = dict(theirs.named_parameters())
    for name, parameter in model.named_parameters():
        theirs_grad = expected[name].grad
        error = (parameter.grad - theirs_grad).norm() / theirs_grad.norm()
        assert error < 1e-4, f"{name}: {error:.1e}"
