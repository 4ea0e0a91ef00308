"""A model is scored on a run's held-out text as the run itself scores it, whoever made it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.evaluating import evaluate, meant
from flows.job import Profile
from flows.releasing import release
from schemas.errors import UserError
from tests.runs import alone, make_run, phase_settings
from trainer import heldout
from trainer.convert import from_transformers, to_transformers
from trainer.evaluate.bits_per_byte import score_folder
from trainer.initialise import build
from trainer.journal import Lines
from trainer.model import ModelConfig

CONFIG = ModelConfig(500, 64, 4, 2, 96)


@pytest.fixture(scope="module")
def run_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose one model was never trained, and whose log has scores of it and another."""
    made = Path(make_run(tmp_path_factory.mktemp("evaluate"), {"only": phase_settings()}))
    with alone(made) as session:
        folder = session.model_folder("only")
        to_transformers.export(build(CONFIG, 1), folder, 1e4, 1e4, session.tokenizer)
        model, theta = from_transformers.load(folder)
        found = heldout.evaluate(model, theta, session.text, session.token_bytes, session.ranks)
        log = Lines(made.with_name("log.jsonl"), write=True)
        for name in ("only", "untrained"):
            log.append({"kind": "heldout", "phase": name, "step": 0, "clock": 0, **found.line()})
    return made


def test_the_score_is_that_of_the_run(run_json: Path) -> None:
    with alone(run_json) as session:
        model, theta = from_transformers.load(session.model_folder("only"))
        own = heldout.evaluate(model, theta, session.text, session.token_bytes, session.ranks)
    assert score_folder(run_json.with_name("models") / "only", run_json, "cpu") == own


def test_a_model_stands_beside_the_others_of_its_run(run_json: Path, tmp_path: Path) -> None:
    store, name = str(run_json.parents[2]), run_json.parent.name
    found = evaluate(store, name)
    assert (found.name, found.table.columns) == ("only", ("untrained", "only"))
    (tmp_path / "other").symlink_to(run_json.with_name("models") / "only")
    other = evaluate(store, *meant(str(tmp_path / "other"), name))
    assert other.table.columns == ("only", "untrained", "other")
    assert other.score.languages == found.score.languages


def test_what_is_meant(run_json: Path, tmp_path: Path) -> None:
    model = run_json.with_name("models") / "only"
    assert meant("tiny-1a/extend", None) == ("tiny-1a", "extend")
    assert meant("tiny-1a", None) == ("tiny-1a", "")
    assert meant(str(run_json.parent), None) == (str(run_json.parent), "")
    assert meant(str(model), None) == (str(run_json.parent), "only")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"model of no run; name the run .* with --run"):
        meant(str(tmp_path), None)
    with pytest.raises(UserError, match=r"/no/such/model: there is no run and no model"):
        meant("/no/such/model", None)


def test_a_model_of_another_tokenizer_and_one_that_is_not_there(
    run_json: Path, tmp_path: Path
) -> None:
    store, name = str(run_json.parents[2]), run_json.parent.name
    with pytest.raises(UserError, match="the run's models are: only"):
        evaluate(store, name, "exted")
    to_transformers.export(build(CONFIG, 1), tmp_path / "m", 1e4, 1e4)
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        evaluate(store, name, str(tmp_path / "m"))
    known = json.loads((run_json.with_name("models") / "only" / "tokenizer.json").read_text())
    known["model"]["vocab"] = {word: i for i, word in enumerate(reversed(known["model"]["vocab"]))}
    (tmp_path / "m" / "tokenizer.json").write_text(json.dumps(known))
    with pytest.raises(UserError, match="made with tokenizer"):
        evaluate(store, name, str(tmp_path / "m"))


def test_a_run_that_is_not_trained_is_not_released(tmp_path: Path) -> None:
    run_json = Path(make_run(tmp_path, {"a": phase_settings(), "b": phase_settings(after="a")}))
    with pytest.raises(UserError, match="has still to train a, b; start `train`"):
        release(str(tmp_path), run_json.parent.name, Profile())
