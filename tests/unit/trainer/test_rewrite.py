"""Whatever holds a model is exported: a run's checkpoint, a Composer file, another directory."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from schemas.errors import UserError
from tests.runs import make_run, phase_settings
from trainer.checkpoint import Point
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


def test_a_card_says_the_bases_that_were_written(run: Path, tmp_path: Path) -> None:
    (checkpoint,) = run.glob("checkpoints/pretrain-*")
    rewrite(checkpoint, tmp_path / "a", 160_000.0, 10_000.0)
    text = (tmp_path / "a" / "README.md").read_text()
    assert "| rotary base (theta) | 160,000 (global), 10,000 (local) |" in text
    rewrite(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "README.md").read_text() == text
    rewrite(tmp_path / "a", tmp_path / "c", 80_000.0)
    again = (tmp_path / "c" / "README.md").read_text()
    assert again.startswith(text.rstrip())
    assert "a rotary base (theta) of 80,000, in place of what stands above" in again


def test_a_checkpoint_inside_a_phase_has_the_card_of_its_point(run: Path, tmp_path: Path) -> None:
    """Though the log goes on behind it, to the end of the phase."""
    copy = tmp_path / "store" / "runs" / run.name
    shutil.copytree(run.parents[1], tmp_path / "store")
    (checkpoint,) = copy.glob("checkpoints/pretrain-*")
    point = Point.model_validate_json((checkpoint / "point.json").read_bytes())
    early = point.model_copy(update={"step": 1, "end": False})
    (checkpoint / "point.json").write_text(early.model_dump_json())
    rewrite(checkpoint, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "The model after " in text
    assert text.split("## Languages")[0].rstrip().endswith("| 1 |")  # steps
    assert (copy / "models" / "pretrain" / "README.md").read_text().count("at the end of") == 1


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
