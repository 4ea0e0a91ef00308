"""The figures of the init-small benchmark say what the curves say."""

import numpy as np
import pytest

from tests.benchmarks.init_small import Curves, winner

CURVES = Curves(
    tokens=(0, 100, 200),
    bits={
        "random": np.array([[4.0, 3.0, 2.0], [4.0, 3.2, 2.2]]),
        "none": np.array([[4.0, 3.5, 2.5], [4.0, 3.5, 2.5]]),
        "sqrt": np.array([[3.0, 2.5, 1.8], [3.0, 2.5, 1.6]]),
        "linear": np.array([[2.0, 2.0, 2.1], [2.0, 2.0, 2.1]]),
    },
    base_bits=1.5,
)


def test_the_lowest_mean_wins_at_each_point() -> None:
    assert [winner(CURVES, place) for place in range(3)] == ["linear", "linear", "sqrt"]


def test_a_lead_is_taken_seed_by_seed() -> None:
    mean, deviation = CURVES.lead("sqrt", 2)
    assert mean == pytest.approx(0.4)
    assert deviation == pytest.approx(np.std([0.2, 0.6], ddof=1))


@pytest.mark.parametrize(
    ("arm", "bits", "tokens"),
    [
        ("random", 2.1, 200.0),
        ("sqrt", 2.1, 150.0),  # between 2.5 at 100 and 1.7 at 200
        ("linear", 2.1, 0.0),
        ("none", 2.1, None),
    ],
)
def test_tokens_to_a_figure_are_read_off_the_mean_curve(
    arm: str, bits: float, tokens: float | None
) -> None:
    found = CURVES.tokens_to(arm, bits)  # type: ignore[arg-type]
    assert found == (tokens if tokens is None else pytest.approx(tokens))
