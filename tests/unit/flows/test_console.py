"""Figures as people read them, and a table that can be drawn at any moment."""

from __future__ import annotations

import pytest

from flows.console import Console, amount, duration
from flows.scores import ScoreTable


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(9.9, "9.9 s"), (12.4, "12 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (640, "640"),
        (1_900, "1.9 k"),
        (12_345, "12 k"),
        (600_800_000_000, "601 B"),
        (2.3e12, "2.3 T"),
    ],
)
def test_amounts(tokens: float, told: str) -> None:
    assert amount(tokens) == told


def test_a_stage_ends_with_its_result_or_its_failure(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    with console.stage("strata") as stage:
        stage.progress("reading", 1, 2)
        stage.table(ScoreTable(("untrained", "pretrain"), (("mean", (8.0, None)),)))
        stage.result = "58 built"
    with pytest.raises(ValueError, match="gone"), console.stage("training"):
        raise ValueError("gone")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "held-out bits per byte, mean: untrained 8.000"
    assert lines[1].startswith("  ✓ strata       58 built · ")
    assert lines[2] == "  ✗ training"
