"""Figures as people read them; a rise that nobody can see is none."""

from __future__ import annotations

import pytest

from schemas.figures import amount, bits, duration, num_bytes, rose, setting


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (9.9, "9.9 s"),
        (12.4, "12 s"),
        (59.7, "1 min"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
        (864_000, "10 days"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (640, "640"),
        (12_345, "12.3 k"),
        (999_999, "1 M"),
        (1.94e6, "1.94 M"),
        (600_800_000_000, "601 B"),
        (2.3e12, "2.3 T"),
    ],
)
def test_amounts_have_three_figures_and_a_unit(value: float, told: str) -> None:
    assert amount(value) == told


def test_bytes_are_counted_in_thousands() -> None:
    assert [num_bytes(n) for n in (640, 1_900, 3e9)] == ["640 B", "1.9 kB", "3 GB"]


def test_a_language_rises_at_the_decimals_that_are_shown() -> None:
    assert bits(2.0004) == bits(2.0) == "2.000"
    assert not rose(2.0, 2.0004)
    assert rose(2.0, 2.0006)
    assert not rose(2.0, 1.9)
    assert not rose(None, 2.0)
    assert not rose(2.0, None)


def test_a_setting_in_words() -> None:
    values = (None, True, 1000, 0.1 + 0.2, 0.1234567, ["web", "wiki"], [], {"web": 2000}, {}, "x")
    told = "none|yes|1,000|0.3|0.1234567|web, wiki|none|web 2,000|none|x"
    assert "|".join(map(setting, values)) == told
