"""A start model that does not fit the run is refused in a sentence that says what to set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from schemas import seal as seals
from schemas.errors import UserError
from schemas.recipe import ModelSettings, Start
from schemas.run import RunStart, digest_of_weights
from tests.composer import payload, save
from tests.runs import tokenizer_json
from tests.stores import SPECIAL, VOCAB_SIZE
from trainer import start
from trainer.convert import to_transformers
from trainer.initialise import build
from trainer.model import ModelConfig, Theta

OURS = ModelConfig(VOCAB_SIZE, 64, 4, 2, 96)
THETA = Theta(160_000.0, 160_000.0)
SIZES = ModelSettings(hidden_size=64, num_layers=4, num_heads=2, intermediate_size=96)
SEALED = seals.seal(tokenizer_json(), SPECIAL, "tests")


def model(folder: Path, config: ModelConfig, tokenizer: bytes | None = None) -> Path:
    """A `transformers` directory."""
    to_transformers.export(build(config, 0), folder, 1e4, 1e4)
    if tokenizer is not None:
        (folder / "tokenizer.json").write_bytes(tokenizer)
    return folder


def load(path: Path) -> start.StartModel:
    described = RunStart(settings=Start(model=str(path)), digest=digest_of_weights(str(path)))
    return start.load(described, SEALED, OURS, THETA)


def test_a_model_of_the_same_tokenizer_and_sizes_is_taken(tmp_path: Path) -> None:
    found = load(model(tmp_path / "m", OURS, tokenizer_json()))
    assert found.theta == Theta(1e4, 1e4)
    assert (found.moments, found.step) == (None, 0)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"vocab_size": 512}, "has a vocabulary of 512, .* one of 500: set tokenizer.path"),
        ({"num_layers": 3}, "num_layers = 3, .* model.num_layers = 4: set it to 3, or"),
        ({"intermediate_size": 64}, "intermediate_size = 64, .* model.intermediate_size = 96"),
        ({"local_window": 64}, "local_window = 64, .* model.local_window = 128"),
        ({"global_every": 2}, "global_every = 2, .* model.global_every = 3"),
        ({"norm_eps": 1e-6}, "norm_eps = 1e-06, where models have 1e-05"),
        ({"hidden_size": 96, "num_heads": 3}, "start.model: .* divided by one whole number"),
        ({"num_heads": 4}, "start.model: .* divided by one whole number"),
    ],
)
def test_other_sizes_are_refused(tmp_path: Path, changed: dict[str, int], told: str) -> None:
    path = model(tmp_path / "m", replace(OURS, **changed))
    with pytest.raises(UserError, match=told):
        load(path)
    with pytest.raises(UserError, match=told):  # and before any work, without the weights
        start.require_fit(Start(model=str(path)), SIZES, SEALED)


def test_another_tokenizer_beside_the_weights_is_refused_naming_both(tmp_path: Path) -> None:
    other = tokenizer_json().replace(b'w7"', b'x7"')
    digest = seals.seal(other, SPECIAL, "").digest
    path = model(tmp_path / "m", OURS, other)
    with pytest.raises(UserError, match=f"{digest[:16]}, but {SEALED.digest[:16]} is expected"):
        load(path)
    (path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is no tokenizer that"):
        load(path)
    checkpoint = save(tmp_path / "ext.pt", payload(build(OURS, 0), {}))
    (tmp_path / "tokenizer.json").write_bytes(other)
    with pytest.raises(UserError, match=digest[:16]):
        load(checkpoint)


def test_other_weights_than_the_run_was_described_with_are_refused(tmp_path: Path) -> None:
    path = model(tmp_path / "m", OURS)
    described = RunStart(settings=Start(model=str(path)), digest="0" * 64)
    with pytest.raises(UserError, match="the run was described with 0000000000000000: bring"):
        start.load(described, SEALED, OURS, THETA)
    gone = RunStart(settings=Start(model=str(tmp_path / "gone")), digest="0" * 64)
    with pytest.raises(UserError, match=r"--set start\.model=PATH"):
        start.load(gone, SEALED, OURS, THETA)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("{", "is no configuration of a ModernBERT"),
        ('{"model_type": "modernbert"}', "is no configuration of a ModernBERT"),
        ('{"model_type": "bert"}', "only 'modernbert' can be read"),
    ],
)
def test_a_folder_of_no_such_model_is_refused(tmp_path: Path, config: str, told: str) -> None:
    with pytest.raises(UserError, match="neither a folder with model"):
        start.require_fit(Start(model=str(tmp_path)), SIZES, None)
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match=told):
        start.require_fit(Start(model=str(tmp_path)), SIZES, None)


def test_weights_as_pytorch_saved_them_are_taken(tmp_path: Path) -> None:
    path = model(tmp_path / "m", OURS)
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    start.require_fit(Start(model=str(path)), SIZES, SEALED)
    weight = load(path).model.state_dict()["head.dense.weight"]
    assert torch.equal(weight, build(OURS, 0).state_dict()["head.dense.weight"])
