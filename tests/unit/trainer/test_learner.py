"""A run's model has the sizes of its recipe, and positions for its longest context."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas import run as runs
from schemas import seal as seals
from tests.runs import make_run, phase_settings
from trainer.learner import model_config


@pytest.mark.parametrize(("context", "positions"), [(128, 8_192), (16_384, 16_384)])
def test_positions_reach_as_far_as_the_longest_context(
    tmp_path: Path, context: int, positions: int
) -> None:
    url = make_run(tmp_path, {"one": phase_settings(), "two": phase_settings(context=context)})
    run = runs.load(url)
    sealed, _ = seals.load(runs.store_of(url).resolve(run.tokenizer))
    assert model_config(run, sealed).max_position == positions
