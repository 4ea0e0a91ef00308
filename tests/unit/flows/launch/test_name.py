"""A scheduler tells the trainings of two stores apart, and takes the name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.launch.name import name_of


def test_the_same_run_of_two_stores_has_two_names(tmp_path: Path) -> None:
    one, other = (tmp_path / store / "runs" / "tiny-1234" / "run.json" for store in "ab")
    assert name_of(one) != name_of(other)
    assert name_of(one, "claim-a") != name_of(one, "claim-b")
    assert name_of(one) == name_of(one)


def test_a_store_has_one_name_by_whichever_link_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "store")
    one, other = (tmp_path / store / "runs" / "t-1" / "run.json" for store in ("store", "link"))
    assert name_of(one) == name_of(other)


@pytest.mark.parametrize("run", ["tiny-1234", "Tiny_one-1234", "a" * 60 + "-7", "9" * 80, "é.-"])
def test_a_name_is_a_label_of_dns_with_room_for_the_number_of_a_pod(run: str) -> None:
    name = name_of(Path("/store/runs") / run / "run.json")
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)
    assert len(f"{name}-9999") <= 63
