"""I3: training that was killed, at any step and any number of times, equals training that was not.

At the same world size the weights are equal to the bit, on a CPU. At another world size sums are
added in another order, so losses agree within 1e-5.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests import ranks
from tests.runs import make_run, phase_settings
from trainer.journal import Lines

PRETRAIN = phase_settings(batch_packs=4, min_batch_packs=2, batch_warmup_tokens=1500)
EXTEND = phase_settings(
    after="pretrain",
    context=256,
    mask_rate=0.15,
    rope_theta=160_000.0,
    learning_rate=1e-3,
    warmup_tokens=0,
    schedule="one-minus-sqrt",
    budget_tokens=3000,
    decay_tokens=3000,
)
TIMES = ("tokens_per_s", "flops_per_s", "mfu", "eta_s")


def lines(run_json: Path, name: str) -> list[dict]:
    """A log without what depends on the clock on the wall, and on how often it was started."""
    found = Lines(run_json.with_name(name), write=False).read()
    found = [line for line in found if line.get("kind") != "machine"]
    return [{key: line[key] for key in line if key not in TIMES} for line in found]


def losses(run_json: Path) -> list[float]:
    return figures(run_json, "loss")


def figures(run_json: Path, name: str) -> list[float]:
    return [line[name] for line in lines(run_json, "log.jsonl") if line["kind"] == "step"]


def weights(run_json: Path) -> dict[str, bytes]:
    models = run_json.parent / "models"
    return {f.parent.name: f.read_bytes() for f in models.glob("*/model.safetensors")}


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """A run of two phases that nothing interrupted."""
    root = tmp_path_factory.mktemp("straight")
    run_json = make_run(root, {"pretrain": PRETRAIN, "extend": EXTEND}, epochs=5)
    assert ranks.start(run_json).wait() == [0]
    return Path(run_json)


@pytest.fixture
def fresh(straight: Path, tmp_path: Path) -> Path:
    """The same run on another path, before its first step."""
    store = tmp_path / "store"
    shutil.copytree(straight.parents[2], store)
    run_json = store / straight.relative_to(straight.parents[2])
    for leftover in ("checkpoints", "models"):
        shutil.rmtree(run_json.parent / leftover)
    for leftover in ("log.jsonl", "journal.jsonl"):
        run_json.with_name(leftover).unlink()
    return run_json


def kill_at(run_json: Path, step: int, world: int = 1) -> None:
    """Start the run and kill -9 all its ranks once the log has reached a step."""
    running = ranks.start(str(run_json), "--checkpoint-every-s", "0", world=world)
    while not any(line.get("step", 0) >= step for line in lines(run_json, "log.jsonl")):
        assert all(process.is_alive() for process in running.processes), running.sentences()
        time.sleep(0.002)
    for process in running.processes:
        process.kill()
    assert running.wait() == [-signal.SIGKILL] * world


def test_weights_are_bit_equal_after_kills_at_random_steps(straight, fresh):
    last = max(line["step"] for line in lines(straight, "log.jsonl"))
    for step in sorted(random.Random(3).sample(range(1, last - 1), 3)):
        kill_at(fresh, step)
    assert ranks.start(str(fresh)).wait() == [0]
    assert weights(fresh) == weights(straight)
    assert len(weights(fresh)) == 3
    assert lines(fresh, "log.jsonl") == lines(straight, "log.jsonl")
    assert lines(fresh, "journal.jsonl") == lines(straight, "journal.jsonl")


@pytest.mark.parametrize("world", [2, 3])
def test_losses_agree_at_other_world_sizes(straight, fresh, world):
    assert ranks.start(str(fresh), world=world).wait() == [0] * world
    assert len(losses(fresh)) > 20
    assert losses(fresh) == pytest.approx(losses(straight), rel=1e-5)
    # The optimiser forgives a gradient scaled by a constant; this does not.
    norms = figures(straight, "grad_norm")
    assert figures(fresh, "grad_norm") == pytest.approx(norms, rel=1e-4)


def test_a_run_goes_on_at_another_world_size(straight, fresh):
    kill_at(fresh, 4, world=2)
    assert ranks.start(str(fresh)).wait() == [0]
    assert losses(fresh) == pytest.approx(losses(straight), rel=1e-5)


def test_a_signal_to_one_rank_stops_all_at_one_step_and_the_run_goes_on(straight, fresh):
    running = ranks.start(str(fresh), world=2)
    while len(losses(fresh)) < 3:
        time.sleep(0.002)
    os.kill(running.processes[1].pid, signal.SIGUSR1)
    assert running.wait() == [0, 0]
    (sentence,) = running.sentences()
    step = len(losses(fresh))
    assert sentence == f"mmbert: stopped at pretrain-{step}, run the same command to go on"
    assert ranks.start(str(fresh), world=2).wait() == [0, 0]
    assert losses(fresh) == pytest.approx(losses(straight), rel=1e-5)


def test_a_finished_run_says_so_at_once(straight):
    before = weights(straight)
    running = ranks.start(str(straight))
    assert running.wait() == [0]
    assert "finished pretrain, extend" in running.sentences()[0]
    assert weights(straight) == before
