"""Going on from a model that exists equals never having left it, in either published form.

A Composer checkpoint has moments: the phase that follows it is the same to the bit. A
`transformers` directory has none: the optimiser begins anew. A larger model is made to size.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from schemas.recipe import Release, Start
from tests.composer import moments_of, payload, save
from tests.runs import MODEL, alone, make_run, phase_settings
from trainer.convert import from_transformers, to_transformers
from trainer.convert.shrink import shrink
from trainer.initialise import build
from trainer.learner import begin
from trainer.loop import train
from trainer.model import Theta
from trainer.session import Session

PRETRAIN = phase_settings()
DECAY = phase_settings(
    context=256, mask_rate=0.05, rope_theta=160_000.0, warmup_tokens=0, schedule="linear"
)


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two phases; in `ext.pt` Composer would have left the first of them."""
    root = tmp_path_factory.mktemp("cascade")
    after = DECAY.model_copy(update={"after": "pretrain"})
    with alone(make_run(root, {"pretrain": PRETRAIN, "decay": after})) as session:
        train(session, session.run.phases)
        learner, _ = begin(session, session.run.phases[0])
        moments = moments_of(learner.model, learner.optimiser, by="index")
        save(session.folder / "ext.pt", payload(learner.model, moments))
        return session.folder


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def heldout(session: Session) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in session.log.read():
        if line["kind"] == "heldout":
            sums = line["languages"]["deu"]["nats"]
            found.setdefault(line["phase"], []).append(sums)
    return found


def test_from_composer_with_its_moments_nothing_differs(cascade: Path, tmp_path: Path) -> None:
    start = Start(model=str(cascade / "ext.pt"))
    branches = {"decay": DECAY, "decay-again": DECAY.model_copy(update={"learning_rate": 1e-3})}
    release = Release(method="ties", base="start", phases=tuple(branches))
    with alone(make_run(tmp_path, branches, start=start, release=release)) as session:
        train(session, session.run.phases)
        models = session.folder / "models"
        assert weights(models / "decay") == weights(cascade / "models" / "decay")
        steps = [line["step"] for line in session.log.read() if line.get("event") == "start"]
        (first,) = {line["step"] for line in session.log.read() if line["phase"] == "start"}
        assert steps[:2] == [first, first]  # each branch begins with the model's own count
        assert first > 0
        scores = heldout(session)
    assert sorted(path.name for path in models.iterdir()) == [
        "decay",
        "decay-again",
        "release",
        "start",
    ]
    assert weights(models / "start") == weights(cascade / "models" / "pretrain")
    assert len(scores["start"]) == len(scores["release"]) == 1


def test_from_transformers_the_optimiser_begins_anew(cascade: Path, tmp_path: Path) -> None:
    start = Start(model=str(cascade / "models" / "pretrain"))
    with alone(make_run(tmp_path, {"decay": DECAY}, start=start)) as session:
        (phase,) = session.run.phases
        learner, point = begin(session, phase)
        models, scores = session.folder / "models", heldout(session)
    with alone(cascade / "run.json") as session:
        ended = heldout(session)["pretrain"][-1]
    assert point.step == 0
    assert not any(learner.optimiser.state.values())
    assert learner.theta == Theta(160_000.0, 160_000.0)
    # The start is scored and kept with its own rotary base, and scores what it scored there.
    assert from_transformers.read_theta(models / "start") == Theta(10_000.0, 10_000.0)
    assert weights(models / "start") == weights(cascade / "models" / "pretrain")
    assert scores == {"start": [ended]}


@pytest.mark.parametrize("form", ["transformers", "composer"])
def test_a_larger_model_is_made_to_size(tmp_path: Path, form: str) -> None:
    with alone(make_run(tmp_path / "sizes", {"decay": DECAY})) as session:
        learner, _ = begin(session, session.run.phases[0])
        small = learner.model.config
    double = build(replace(small, hidden_size=128, num_heads=4), seed=5)
    if form == "composer":
        path = save(tmp_path / "base.pt", payload(double, {}))
    else:
        path = tmp_path / "base"
        to_transformers.export(double, path, 160_000.0, 160_000.0)
    start = Start(model=str(path), rescale="linear")
    with alone(make_run(tmp_path / "run", {"decay": DECAY}, start=start)) as session:
        learner, point = begin(session, session.run.phases[0])
    assert point.step == 0
    expected = shrink(double, MODEL.hidden_size, MODEL.num_heads, "linear").state_dict()
    for name, tensor in learner.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
