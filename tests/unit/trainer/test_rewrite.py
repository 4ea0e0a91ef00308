"""Whatever holds a model is exported: a run's checkpoint, a Composer file, another directory."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from schemas.errors import UserError
from tests.runs import make_run, phase_settings
from trainer.convert import from_transformers, to_transformers
from trainer.convert.rewrite import rewrite
from trainer.distributed import Ranks
from trainer.initialise import build
from trainer.loop import train
from trainer.model import ModelConfig, Theta
from trainer.session import open_session

CONFIG = ModelConfig(96, 64, 4, 1, 40)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is trained to its end."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    phases = {"pretrain": phase_settings(rope_theta=20_000.0)}
    url = make_run(tmp_path_factory.mktemp("run"), phases, precision="fp32")
    session = open_session(url, Ranks(0, 1, torch.device("cpu")), 300.0)
    train(session, session.run.phases)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    return session.folder


def test_a_checkpoint_is_the_model_that_its_phase_exported(run: Path, tmp_path: Path) -> None:
    (checkpoint,) = run.glob("checkpoints/pretrain-*")
    rewrite(checkpoint, tmp_path / "out")
    names = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    names |= {"digests.json", "README.md"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for name in names:
        exported = run / "models" / "pretrain" / name
        assert (tmp_path / "out" / name).read_bytes() == exported.read_bytes(), name
    assert from_transformers.read_theta(tmp_path / "out") == Theta(20_000.0, 20_000.0)


def test_bases_and_precision_can_be_chosen(tmp_path: Path) -> None:
    to_transformers.export(build(CONFIG, 0), tmp_path / "in", 1e4, 1e4)
    rewrite(tmp_path / "in", tmp_path / "out", 160_000.0, torch_dtype=torch.bfloat16)
    assert from_transformers.read_theta(tmp_path / "out") == Theta(160_000.0, 160_000.0)
    assert load_file(tmp_path / "out" / "model.safetensors")["decoder.bias"].dtype == torch.bfloat16
    rewrite(tmp_path / "in", tmp_path / "two", 160_000.0, 10_000.0)
    assert from_transformers.read_theta(tmp_path / "two") == Theta(160_000.0, 10_000.0)


def test_a_pickled_model_becomes_safetensors(tmp_path: Path) -> None:
    to_transformers.export(build(CONFIG, 0), tmp_path / "in", 1e4, 1e4)
    weights = load_file(tmp_path / "in" / "model.safetensors")
    torch.save(weights, tmp_path / "in" / "pytorch_model.bin")
    (tmp_path / "in" / "model.safetensors").unlink()
    rewrite(tmp_path / "in", tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in weights.items())


def test_what_is_missing_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--theta 10000 for a checkpoint of pretraining"):
        rewrite(tmp_path / "mmbert-base-ext.pt", tmp_path / "out")
    with pytest.raises(UserError, match="does not exist"):
        rewrite(tmp_path / "mmbert-base-ext.pt", tmp_path / "out", 160_000.0)
    with pytest.raises(UserError, match=r"config\.json does not exist"):
        rewrite(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(UserError, match="needs the global one"):
        rewrite(tmp_path / "nothing", tmp_path / "out", theta_local=10_000.0)
    lost = tmp_path / "lost"
    lost.mkdir()
    (checkpoint,) = run.glob("checkpoints/pretrain-*")
    (lost / "point.json").write_bytes((checkpoint / "point.json").read_bytes())
    with pytest.raises(UserError, match="is no checkpoint in a run"):
        rewrite(lost, tmp_path / "out")
