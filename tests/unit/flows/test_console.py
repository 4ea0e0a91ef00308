"""What a stage says, and a table that can be drawn at any moment."""

from __future__ import annotations

import pytest

from flows.console import Console
from flows.scores import ScoreTable


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
