"""Three branches begin with one checkpoint, bit for bit, and are released as one merged model.

Whatever is killed on the way, the same command goes on and ends with the same bits.
"""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from pipelines.verify import verify_store
from schemas import run as runs
from schemas.recipe import Release
from tests import ranks
from tests.runs import alone, make_run, phase_settings
from trainer import release
from trainer.convert import from_transformers
from trainer.convert.merge import merge
from trainer.heldout import evaluate
from trainer.journal import Lines
from trainer.learner import begin
from trainer.loop import train
from trainer.model import Theta
from trainer.session import Session, chosen

LATER = {"context": 256, "rope_theta": 160_000.0, "warmup_tokens": 0}
DECAY = LATER | {"after": "extend", "mask_rate": 0.05, "schedule": "one-minus-sqrt"}
PHASES = {
    "pretrain": phase_settings(),
    "extend": phase_settings(**LATER, after="pretrain", mask_rate=0.15),
    "decay-eng": phase_settings(**DECAY),
    "decay-cont": phase_settings(**DECAY, batch_packs=2),
    "decay-all": phase_settings(**DECAY, batch_packs=4, snapshots=2),
}
BRANCHES = tuple(PHASES)[2:]
TIES = Release(method="ties", base="extend", phases=BRANCHES, density=0.5)
TIMES = ("tokens_per_s", "flops_per_s", "mfu", "eta_s")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run.json of a cascade that nothing interrupted."""
    run_json = make_run(tmp_path_factory.mktemp("straight"), PHASES, release=TIES)
    with alone(run_json) as session:
        train(session, session.run.phases)
    return Path(run_json)


@pytest.fixture
def copy(straight: Path, tmp_path: Path) -> Path:
    """The same run in another place, trained but for its release."""
    store = tmp_path / "store"
    shutil.copytree(straight.parents[2], store)
    run_json = store / straight.relative_to(straight.parents[2])
    shutil.rmtree(run_json.parent / "models" / "release")
    Lines(run_json.with_name("log.jsonl"), write=True).rewind("release", -1)
    return run_json


def lines(run_json: Path) -> list[dict]:
    """The log without what depends on the clock on the wall, and on how often it was started."""
    found = Lines(run_json.with_name("log.jsonl"), write=False).read()
    found = [line for line in found if line["kind"] != "machine"]
    return [{key: line[key] for key in line if key not in TIMES} for line in found]


def weights(run_json: Path) -> dict[str, bytes]:
    """Of models and snapshots, by folder."""
    files = [*run_json.parent.glob("*/*/model.safetensors")]
    return {str(f.parent.relative_to(run_json.parent)): f.read_bytes() for f in files}


def test_branches_begin_with_the_weights_and_moments_of_one_checkpoint(copy: Path) -> None:
    for checkpoint in copy.parent.glob("checkpoints/decay-*"):
        shutil.rmtree(checkpoint)
    with alone(copy) as session:
        end = state(session, "extend")
        assert end["exp_avg.decoder.bias"].abs().sum() > 0
        for branch in BRANCHES:
            start = state(session, branch)
            assert start.keys() == end.keys()
            assert all(torch.equal(start[name], end[name]) for name in end), branch


def state(session: Session, phase: str) -> dict[str, torch.Tensor]:
    """Weights, moments and step where a phase stands."""
    learner, point = begin(session, *chosen(session.run, phase))
    held = {"step": torch.tensor(point.step)}
    for name, parameter in learner.model.named_parameters():
        held[name] = parameter.detach()
        for moment in ("exp_avg", "exp_avg_sq"):
            held[f"{moment}.{name}"] = learner.optimiser.state[parameter][moment]
    return held


def test_the_release_is_the_merge_of_the_branches_and_is_scored_like_a_phase(
    straight: Path, tmp_path: Path
) -> None:
    models = straight.parent / "models"
    merge(
        [models / branch for branch in BRANCHES],
        tmp_path / "merged",
        "ties",
        base=models / "extend",
        density=0.5,
    )
    merged = (tmp_path / "merged" / "model.safetensors").read_bytes()
    assert (models / "release" / "model.safetensors").read_bytes() == merged
    assert (models / "release" / "tokenizer.json").exists()

    told = [line for line in lines(straight) if line["phase"] == "release"]
    assert [line.get("event", line["kind"]) for line in told] == ["start", "heldout", "end"]
    ends = {line["phase"]: line["step"] for line in lines(straight) if line.get("event") == "end"}
    assert ends["release"] == max(ends[branch] for branch in BRANCHES)
    scores = {line["phase"]: line for line in lines(straight) if line["kind"] == "heldout"}
    assert list(scores) == ["untrained", *PHASES, "release"]
    model, theta = from_transformers.load(models / "release")
    assert theta == Theta(160_000.0, 160_000.0)
    with alone(straight) as session:
        ours = evaluate(model, theta, session.text, session.token_bytes, session.ranks)
    assert ours.line()["languages"] == scores["release"]["languages"]


def test_other_knobs_make_another_release_and_train_nothing(copy: Path) -> None:
    """The run keeps its id and its folder; the release that stands there is replaced."""
    with alone(copy) as session:
        train(session, session.run.phases)
    before = weights(copy)
    flatter = TIES.model_copy(update={"density": 1.0, "lam": 0.5})
    url = runs.publish(
        runs.store_of(str(copy)),
        runs.load(str(copy)).model_copy(update={"release": flatter}).sealed(),
    )
    assert Path(url) == copy
    assert damaged(copy) == []
    assert not runs.is_finished(copy)
    assert all(runs.is_finished(copy, phase) for phase in PHASES)

    steps = [line for line in lines(copy) if line["kind"] == "step"]
    with alone(copy) as session:
        train(session, session.run.phases)
    assert runs.is_finished(copy)
    assert [line for line in lines(copy) if line["kind"] == "step"] == steps
    told = [line for line in lines(copy) if line["phase"] == "release"]
    assert [line.get("event", line["kind"]) for line in told] == ["start", "heldout", "end"]
    after = weights(copy)
    changed = {folder for folder in before | after if before.get(folder) != after.get(folder)}
    assert changed == {"models/release"}
    assert "density 1, lambda 0.5" in (copy.parent / "models/release/README.md").read_text()
    assert damaged(copy) == []


def test_one_phase_alone_releases_nothing_and_all_together_do(copy: Path) -> None:
    with alone(copy) as session:
        assert "finished decay-all: " in train(session, chosen(session.run, "decay-all"))
        assert not session.model_folder("release").exists()
        assert "decay-all, release: " in train(session, session.run.phases)
        assert session.model_folder("release").exists()


def damaged(run_json: Path) -> list[str]:
    """What is not as it was written in the run's folder; its strata have no stratum.json."""
    found = verify_store(runs.store_of(str(run_json))).problems
    return [problem for problem in found if problem.startswith("runs/")]


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("at", "call"),
    [("log_event", 1), ("merge", 1), ("score", 1), ("log_event", 2), ("publish_folder", 1)],
)
def test_a_release_that_was_interrupted_is_made_again(
    straight: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, at: str, call: int
) -> None:
    step, calls = getattr(release, at), []

    def dies_after(*arguments: object, **named: object) -> None:
        step(*arguments, **named)
        calls.append(at)
        if len(calls) == call:
            raise Killed

    with alone(copy) as session, monkeypatch.context() as patch:
        patch.setattr(release, at, dies_after)
        with pytest.raises(Killed):
            train(session, session.run.phases)
    with alone(copy) as session:
        train(session, session.run.phases)
    assert weights(copy) == weights(straight)
    assert lines(copy) == lines(straight)


def test_two_ranks_release_what_one_does(straight: Path, copy: Path) -> None:
    assert ranks.start(str(copy), world=2).wait() == [0, 0]
    assert weights(copy) == weights(straight)
    mine, theirs = (
        [line for line in lines(run) if line["kind"] == "heldout"][-1]["languages"]
        for run in (copy, straight)
    )
    for code in ("deu", "fao"):
        assert mine[code]["nats"] == pytest.approx(theirs[code]["nats"], rel=1e-6)


@pytest.mark.slow
def test_kills_in_every_phase_and_in_the_release_change_no_bit(straight: Path, copy: Path) -> None:
    for folder in ("models", "checkpoints", "snapshots"):
        shutil.rmtree(copy.parent / folder)
    for file in ("log.jsonl", "journal.jsonl"):
        copy.with_name(file).unlink()
    for phase in (*PHASES, "release"):
        kill_in(copy, phase)
    assert ranks.start(str(copy)).wait() == [0]
    assert weights(copy) == weights(straight)
    assert lines(copy) == lines(straight)


def kill_in(run_json: Path, phase: str) -> None:
    """Start the run, and kill -9 it once a phase has taken two steps, or the release has begun."""
    running = ranks.start(str(run_json), "--checkpoint-every-s", "0")
    enough = 1 if phase == "release" else 3
    while sum(line["phase"] == phase for line in lines(run_json)) < enough:
        assert all(process.is_alive() for process in running.processes), running.sentences()
        time.sleep(0.002)
    running.processes[0].kill()
    assert running.wait() == [-signal.SIGKILL]
