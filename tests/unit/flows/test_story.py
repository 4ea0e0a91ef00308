"""A run's log is told as it grows, however long it is and however often it was cut."""

from __future__ import annotations

import re
from pathlib import Path

import fsspec
import pytest

from flows.curves import heldout_plot, loss_plot
from flows.scores import HeldoutScore, Step
from flows.story import MOST_POINTS, Series, Story, StoryFile
from schemas import run as runs
from schemas.recipe import Release
from tests.runs import make_run, phase_settings
from tests.viewed import NUM_STEPS, log


def step(number: int, phase: str = "pretrain") -> Step:
    return Step(phase=phase, step=number, tokens=100 * number, loss=5.0, lr=1e-3)


def test_a_log_that_grows_is_read_on(tmp_path: Path) -> None:
    lines = log(8000).splitlines(keepends=True)
    path = tmp_path / "log.jsonl"
    told = StoryFile(str(path))
    assert told.read() is None
    path.write_text("".join(lines[:5]) + lines[5][:20])  # the last line is cut
    story = told.read()
    assert story is not None
    assert story.step is not None
    assert story.step.step == 4
    path.write_text("".join(lines))
    story = told.read()
    assert story is not None
    assert story.step is not None
    assert story.step.step == NUM_STEPS
    assert len(story.loss["only"].x) == NUM_STEPS
    assert len(story.scores["only"]) == 3


def test_a_log_that_was_rewritten_is_read_anew(tmp_path: Path) -> None:
    lines = log(8000).splitlines(keepends=True)
    path = tmp_path / "log.jsonl"
    told = StoryFile(str(path))
    path.write_text("".join(lines))
    told.read()
    path.write_text("".join(lines[:3] + lines[4:] + [lines[-1]] * 9))  # longer, and another
    story = told.read()
    assert story is not None
    assert len(story.loss["only"].x) == NUM_STEPS - 1


def test_a_log_on_another_store_is_read(tmp_path: Path) -> None:
    with fsspec.open("memory://runs/log.jsonl", "w") as file:
        file.write(log(8000))
    story = StoryFile("memory://runs/log.jsonl").read()
    assert story is not None
    assert story.macro == pytest.approx(2.0)


def test_a_long_run_keeps_few_points() -> None:
    series = Series()
    for x in range(100_000):
        series.add(x, x)
    assert MOST_POINTS <= len(series.x) <= 2 * MOST_POINTS
    assert series.x == sorted(series.x)
    assert series.y == pytest.approx(series.x)


def test_a_resumed_run_goes_back() -> None:
    story = Story()
    for number in (1, 2, 3, 4, 3, 4, 5):
        story.take(step(number))
    assert story.loss["pretrain"].x == [100, 200, 300, 400, 500]


def test_curves_are_drawn_from_the_first_line_on(tmp_path: Path) -> None:
    phases = {"pretrain": phase_settings(), "extend": phase_settings(after="pretrain")}
    run = runs.load(make_run(tmp_path, phases))
    story = Story()
    assert loss_plot(run, story) is None
    assert heldout_plot(run, story) is None
    story.take(step(1))
    drawn = loss_plot(run, story)
    assert drawn is not None
    assert drawn.startswith("<svg ")
    assert re.search(r'points="\S+ \S+"', drawn), "one point is a dash"
    story.take(step(1, "extend"))
    drawn = loss_plot(run, story)
    assert drawn is not None
    assert drawn.count("<polyline") == 2


def test_the_last_point_is_what_the_headline_says(tmp_path: Path) -> None:
    phases = {"pretrain": phase_settings(), "extend": phase_settings(after="pretrain")}
    release = Release(method="average", phases=("pretrain", "extend"))
    run, story = runs.load(make_run(tmp_path, phases, release=release)), Story()
    for model, mean in (("pretrain", 3.0), ("extend", 2.5), ("release", 2.25)):
        story.take(HeldoutScore(phase=model, step=1, clock=0, macro=mean, languages={}))
        drawn = heldout_plot(run, story)
        assert drawn is not None
        assert f"mean {mean:.3f}" in drawn
        assert ("the last point is the release" in drawn) == (model == "release")
    assert story.macro == 2.25
    drawn = heldout_plot(run.model_copy(update={"release": None}), story)
    assert drawn is not None
    assert "mean 2.500" in drawn
