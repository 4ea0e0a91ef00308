"""I5: a checkpoint is a `transformers` model, both ways: weights bit-equal, logits to rounding.

That the model computes what transformers computes, gradients too: test_model_is_modernbert.
"""

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
