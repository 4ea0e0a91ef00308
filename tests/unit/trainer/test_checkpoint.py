"""A checkpoint is whole or absent, gives back every bit, and refuses to serve another run."""

import optimi
import pytest
import torch

from schemas.errors import UserError
from trainer import checkpoint
from trainer.checkpoint import Point
from trainer.distributed import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))


def build(seed: int = 0) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    groups = [
        {"params": [model[0].weight], "weight_decay": 1e-4},
        {"params": [model[0].bias, *model[1].parameters()], "weight_decay": 0.0},
    ]
    return model, optimi.StableAdamW(groups, lr=1e-2, betas=(0.9, 0.95), decouple_lr=True)


def train(model: torch.nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        inputs = torch.arange(8.0).reshape(2, 4).add(step).sin()
        model(inputs)[:, 0].pow(2).sum().backward()
        optimiser.step()
        optimiser.zero_grad()


def point(step: int, run: str = "r1", end: bool = False) -> Point:
    return Point(
        run=run, phase="p", step=step, window=0, pack=step, tokens=9, clock_tokens=9, end=end
    )


def test_going_on_from_a_checkpoint_equals_never_having_stopped(tmp_path):
    straight, optimiser = build()
    train(straight, optimiser, range(5))
    broken, optimiser = build()
    train(broken, optimiser, range(3))
    checkpoint.save(tmp_path, ALONE, broken, optimiser, point(3))

    loaded, optimiser = build(seed=1)
    checkpoint.load(tmp_path, ALONE, loaded, optimiser, point(3), "r1")
    train(loaded, optimiser, range(3, 5))
    for a, b in zip(straight.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_last_two_are_kept_until_the_phase_ends(tmp_path):
    model, optimiser = build()
    train(model, optimiser, range(1))
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, ALONE, model, optimiser, point(step))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", "p-2", "p-3"]
    checkpoint.save(tmp_path, ALONE, model, optimiser, point(4, end=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", "p-4"]
    assert checkpoint.newest(tmp_path, "p") == point(4, end=True)


def test_a_checkpoint_that_was_being_written_does_not_exist(tmp_path):
    model, optimiser = build()
    train(model, optimiser, range(1))
    checkpoint.save(tmp_path, ALONE, model, optimiser, point(1))
    (tmp_path / "p-1").rename(tmp_path / ".p-1.tmp")
    assert checkpoint.newest(tmp_path, "p") is None


def test_another_runs_checkpoint_is_refused(tmp_path):
    model, optimiser = build()
    train(model, optimiser, range(1))
    checkpoint.save(tmp_path, ALONE, model, optimiser, point(1))
    with pytest.raises(UserError, match="belongs to run r1, not to r2"):
        checkpoint.load(tmp_path, ALONE, model, optimiser, point(1), "r2")


def test_a_broken_checkpoint_says_which_folder_to_remove(tmp_path):
    model, optimiser = build()
    train(model, optimiser, range(1))
    checkpoint.save(tmp_path, ALONE, model, optimiser, point(1))
    for file in (tmp_path / "p-1").glob("*.distcp"):
        file.unlink()
    with pytest.raises(UserError, match="remove the folder"):
        checkpoint.load(tmp_path, ALONE, model, optimiser, point(1), "r1")
