"""A run is finished when its phases are trained and the model made of them is released as it says.

The models alone say so: a run's log may be deleted.
"""

from __future__ import annotations

import os
from pathlib import Path

from schemas import run as runs
from schemas.recipe import Release
from schemas.run import is_finished, made_models
from tests.runs import end, make_run, phase_settings

RELEASE = Release(method="average", phases=("pretrain", "extend"))


def test_the_release_is_the_last_thing_to_be_done(tmp_path: Path) -> None:
    phases = {"pretrain": phase_settings(), "extend": phase_settings(after="pretrain")}
    run_json = Path(make_run(tmp_path, phases, release=RELEASE))
    assert made_models(run_json.parent, runs.load(str(run_json))) == set()
    for name in phases:
        end(run_json, name)
        assert is_finished(run_json, name)
        assert not is_finished(run_json)
    end(run_json, "release")
    assert is_finished(run_json)
    assert made_models(run_json.parent, runs.load(str(run_json))) == {
        "pretrain",
        "extend",
        "release",
    }


def test_without_a_release_the_last_phase_is_the_end(tmp_path: Path) -> None:
    run_json = Path(make_run(tmp_path, {"pretrain": phase_settings()}))
    assert not is_finished(run_json)
    end(run_json, "pretrain")
    assert is_finished(run_json)


def test_a_release_of_other_settings_is_not_the_one(tmp_path: Path) -> None:
    phases = {"pretrain": phase_settings(), "extend": phase_settings()}
    run_json = Path(make_run(tmp_path, phases, release=RELEASE))
    for name in (*phases, "release"):
        end(run_json, name)
    run = runs.load(str(run_json))
    for other in (RELEASE.model_copy(update={"weights": (1.0, 2.0)}), None):
        wished = run.model_copy(update={"release": other}).sealed()
        assert wished.id == run.id
        assert made_models(run_json.parent, wished) == set(phases)
    assert wished.before("release") is None
    (run_json.parent / "models" / "release" / "release.json").unlink()
    assert not is_finished(run_json)


def test_a_run_that_says_nothing_new_is_not_written_again(tmp_path: Path) -> None:
    run_json = Path(make_run(tmp_path, {"pretrain": phase_settings()}))
    run, store = runs.load(str(run_json)), runs.store_of(str(run_json))
    os.utime(run_json, (1, 1))
    assert runs.publish(store, run) == str(run_json)
    assert run_json.stat().st_mtime == 1
    runs.publish(store, run.model_copy(update={"title": "another"}))
    assert runs.load(str(run_json)).title == "another"
