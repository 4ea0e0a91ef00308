"""The comparison of mixtures compares; it fits nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.job import Job
from schemas.errors import UserError
from tests.benchmarks.mixture import COLUMNS, Mixture, compare, groups, read_counts, tail
from tests.benchmarks.mixture_reasons import Reasons


def test_counts_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--counts FILE"):
        read_counts(tmp_path / "counts.csv")


def test_a_language_without_tokens_is_in_no_column(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text(f"code,{','.join(COLUMNS.values())}\nfao,0,0,0,0,9\nisl,0,5,4,4,3\n")
    counts = read_counts(path)
    assert counts["decay_all"] == {"fao": 9, "isl": 3}
    assert counts["extend"] == {"isl": 5}


def test_slope_and_r2_are_those_of_logarithms() -> None:
    planned = {"rus": 10, "fra": 100, "isl": 1000, "eng": 7}
    published = {code: 3 * tokens**2 for code, tokens in planned.items()}
    mixture = Mixture("extend", 0.5, 2, planned, published, planned)
    assert mixture.both() == ["rus", "fra", "isl"]
    assert mixture.fit(mixture.both()) == pytest.approx((2.0, 1.0))
    assert groups(mixture)["59"] == ["rus", "fra"]
    assert groups(mixture)["108, as far as v2.1 holds them"] == []


@pytest.fixture(scope="module")
def mixtures() -> list[Mixture]:
    """The plan of base beside itself."""
    recipe = Job(recipe="base").load()
    nothing: dict[str, dict[str, int]] = {column: {} for column in COLUMNS.values()}
    planned = compare(recipe, nothing)
    return compare(recipe, {COLUMNS[m.phase]: m.planned for m in planned})


def test_a_plan_beside_itself_is_a_perfect_fit(mixtures: list[Mixture]) -> None:
    for mixture, count in zip(mixtures, (59, 108, 108, 108, 1800), strict=True):
        codes = groups(mixture)["all"]
        assert len(set(codes) - {"mul"}) == count
        assert mixture.fit(codes) == pytest.approx((1.0, 1.0))
    planned, published = tail(mixtures[-1])
    assert planned == published


def test_a_reason_is_read_off_the_figures(mixtures: list[Mixture]) -> None:
    extend = mixtures[1]
    held = extend.available["isl"]
    more = {**extend.published, "isl": 5 * held, "jpn": extend.published["jpn"] // 2}
    changed = [
        Mixture(
            m.phase,
            m.tau,
            m.max_epochs,
            m.planned,
            more if m is extend else m.published,
            m.available,
        )
        for m in mixtures
    ]
    reasons = Reasons(changed)
    assert reasons.why(changed[1], "isl").startswith("mmBERT took 5.0 x what v2.1 holds")
    assert "segmenter" in reasons.why(changed[1], "jpn")
