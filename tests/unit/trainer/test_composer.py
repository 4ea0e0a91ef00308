"""A raw Composer checkpoint becomes this model, with its moments, and never runs code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from schemas.errors import UserError
from tests.composer import composer_name, moments_of, payload, save
from trainer.convert import from_composer, to_transformers
from trainer.convert.composer_moments import restore
from trainer.initialise import build
from trainer.model import ModelConfig, ModernBert, Theta
from trainer.optimiser import build_optimiser

CONFIG = ModelConfig(96, 64, 4, 1, 40)
THETA = Theta(160_000.0, 160_000.0)


def step(model: ModernBert, optimiser: torch.optim.Optimizer, seed: int) -> None:
    ids = torch.randint(5, 96, (20,), generator=torch.Generator().manual_seed(seed))
    bounds = torch.tensor([0, 20], dtype=torch.int32)
    targets = torch.tensor([3, 7])
    optimiser.zero_grad()
    model(ids, torch.arange(20), bounds, 64, targets, ids[targets], THETA).backward()
    optimiser.step()


@pytest.fixture
def trained() -> tuple[ModernBert, torch.optim.Optimizer]:
    model = build(CONFIG, 4)
    optimiser = build_optimiser(model, 1e-3, 1e-4)
    for seed in range(3):
        step(model, optimiser, seed)
    return model, optimiser


def test_names_are_those_of_the_published_checkpoints() -> None:
    pairs = {
        "model.bert.embeddings.tok_embeddings.weight": "model.embeddings.tok_embeddings.weight",
        "model.bert.embeddings.norm.weight": "model.embeddings.norm.weight",
        "model.bert.encoder.layers.1.attn_norm.weight": "model.layers.1.attn_norm.weight",
        "model.bert.encoder.layers.0.attn.Wqkv.weight": "model.layers.0.attn.Wqkv.weight",
        "model.bert.encoder.layers.3.mlp.Wi.weight": "model.layers.3.mlp.Wi.weight",
        "model.bert.final_norm.weight": "model.final_norm.weight",
        "model.head.dense.weight": "head.dense.weight",
        "model.head.norm.weight": "head.norm.weight",
        "model.decoder.weight": "decoder.weight",
        "model.decoder.bias": "decoder.bias",
    }
    model = build(CONFIG, 0)
    assert {composer_name(n) for n in model.state_dict()} >= set(pairs)
    for theirs, ours in pairs.items():
        assert composer_name(ours) == theirs


@pytest.mark.parametrize("by", ["name", "index"])
def test_training_goes_on_as_if_never_saved(
    tmp_path: Path, trained: tuple[ModernBert, torch.optim.Optimizer], by: str
) -> None:
    model, optimiser = trained
    path = save(tmp_path / "ext.pt", payload(model, moments_of(model, optimiser, by)))
    loaded = from_composer.load(path, THETA)
    assert loaded.model.config == CONFIG  # sizes read from the weights
    assert loaded.moments is not None
    assert loaded.moments.step == 3
    other = build_optimiser(loaded.model, 1e-3, 1e-4)
    restore(loaded.model, other, loaded.moments)
    step(model, optimiser, 7)
    step(loaded.model, other, 7)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.model.state_dict()[name]), name
    assert torch.load(path, weights_only=False)["state"]["model"]  # the file is as it was


def test_without_an_optimiser_the_weights_load(
    tmp_path: Path, trained: tuple[ModernBert, torch.optim.Optimizer]
) -> None:
    model, _ = trained
    content = payload(model, {})
    del content["state"]["optimizers"]
    del content["state"]["model"]["model.decoder.weight"]  # tied: saved once or twice
    loaded = from_composer.load(save(tmp_path / "x.pt", content), Theta(1e4, 1e4), CONFIG)
    assert loaded.moments is None
    assert torch.equal(loaded.model.decoder.weight, model.decoder.weight)
    assert loaded.model.decoder.weight is loaded.model.model.embeddings.tok_embeddings.weight
    to_transformers.export(loaded.model, tmp_path / "out", *loaded.theta)


def change(content: dict[str, object], name: str, tensor: Tensor | None) -> dict[str, object]:
    weights = content["state"]["model"]
    weights.pop(name, None)
    if tensor is not None:
        weights[name] = tensor
    return content


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("model.head.dense.weight", torch.zeros(64, 32), r"\[64, 32\], expected \[64, 64\]"),
        ("model.head.norm.weight", None, r"no tensor head\.norm\.weight, expected .* \[64\]"),
        ("model.bert.pooler.weight", torch.zeros(2), r"does not: model\.pooler\.weight"),
        ("model.decoder.weight", torch.zeros(96, 64), "untied"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    tmp_path: Path,
    trained: tuple[ModernBert, torch.optim.Optimizer],
    name: str,
    tensor: Tensor | None,
    message: str,
) -> None:
    path = save(tmp_path / "x.pt", change(payload(trained[0], {}), name, tensor))
    with pytest.raises(UserError, match=message):
        from_composer.load(path, THETA)


def test_another_size_than_asked_for_is_named(
    tmp_path: Path, trained: tuple[ModernBert, torch.optim.Optimizer]
) -> None:
    path = save(tmp_path / "x.pt", payload(trained[0], {}))
    with pytest.raises(UserError, match=r"tok_embeddings.* \[96, 64\], expected \[128, 64\]"):
        from_composer.load(path, THETA, ModelConfig(128, 64, 4, 1, 40))


def test_moments_of_other_weights_are_refused(
    tmp_path: Path, trained: tuple[ModernBert, torch.optim.Optimizer]
) -> None:
    model, optimiser = trained
    moments = moments_of(model, optimiser, "index")
    (kept,) = moments.values()
    kept["state"][kept["param_groups"][1]["params"][0]]["exp_avg_sq"] = torch.zeros(3, 3)
    path = save(tmp_path / "x.pt", payload(model, moments))
    with pytest.raises(UserError, match=r"exp_avg_sq of model\.embeddings.* \[3, 3\], expected"):
        from_composer.load(path, THETA)
    del kept["param_groups"][0]["params"][0]
    with pytest.raises(UserError, match="parameters where the model has"):
        from_composer.load(save(tmp_path / "y.pt", payload(model, moments)), THETA)


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch owned",)


def test_code_in_a_pickle_is_refused_by_name(
    tmp_path: Path, trained: tuple[ModernBert, torch.optim.Optimizer], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = payload(trained[0], {})
    content["state"]["callbacks"] = Malicious()
    with pytest.raises(UserError, match=r"posix\.system"):
        from_composer.load(save(tmp_path / "x.pt", content), THETA)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [{"weights": 1}, {"state": {"model": 3}}, [1, 2]])
def test_something_else_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match="no Composer checkpoint"):
        from_composer.load(save(tmp_path / "x.pt", content), THETA)


def test_a_broken_file_and_a_base_that_is_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=r"cut\.pt"):
        from_composer.load(tmp_path / "cut.pt", THETA)
    with pytest.raises(UserError, match="does not exist"):
        from_composer.load(tmp_path / "none.pt", THETA)
    with pytest.raises(UserError, match="-1 must be positive"):
        from_composer.load(tmp_path / "cut.pt", Theta(160_000.0, -1.0))
