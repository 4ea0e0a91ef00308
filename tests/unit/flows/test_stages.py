"""A run is finished when its phases are trained and the model made of them is released."""

from __future__ import annotations

from pathlib import Path

from flows.stages import is_finished, trained_phases
from schemas.recipe import Release
from tests.runs import make_run, phase_settings
from trainer.journal import Lines

RELEASE = Release(method="average", phases=("pretrain", "extend"))


def end(run_json: Path, name: str) -> None:
    """As the trainer leaves a phase, or the release, that is done."""
    line = {"kind": "phase", "event": "end", "phase": name, "step": 3}
    Lines(run_json.with_name("log.jsonl"), write=True).append(line)
    model = run_json.parent / "models" / name
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")


def test_the_release_is_the_last_thing_to_be_done(tmp_path: Path) -> None:
    phases = {"pretrain": phase_settings(), "extend": phase_settings(after="pretrain")}
    run_json = Path(make_run(tmp_path, phases, release=RELEASE))
    assert trained_phases(run_json) == set()
    for name in phases:
        end(run_json, name)
        assert is_finished(run_json, name)
        assert not is_finished(run_json)
    end(run_json, "release")
    assert is_finished(run_json)
    assert trained_phases(run_json) == {"pretrain", "extend", "release"}


def test_without_a_release_the_last_phase_is_the_end(tmp_path: Path) -> None:
    run_json = Path(make_run(tmp_path, {"pretrain": phase_settings()}))
    assert not is_finished(run_json)
    end(run_json, "pretrain")
    assert is_finished(run_json)
