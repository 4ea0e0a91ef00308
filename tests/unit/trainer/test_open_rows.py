"""Rows are the same however many of them are cut at once, and however few are kept."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from tests.stores import Settings, make_manifest
from trainer.open_rows import BEGIN, DOCUMENT, LENGTH, START
from trainer.phase import Phase

STRATA = ("fineweb2/deu_Latn/all", "fineweb2/fao_Latn/all")
SHARDS, EPOCHS = np.array([0, 1, 2, 0]), np.array([0, 0, 3, 1])


def whole(phase: Phase) -> tuple[np.ndarray, ...]:
    """What to ask for all rows of the shards."""
    return SHARDS, EPOCHS, np.zeros_like(SHARDS), phase.shards.num_rows[SHARDS]


@pytest.fixture
def url(tmp_path: Path) -> str:
    draw = np.random.default_rng(0)
    lengths = {name: [draw.integers(1, 400, 20).tolist() for _ in range(2)] for name in STRATA}
    excluded = {0: [(STRATA[0], 1, 4)], 2: [(STRATA[1], 0, 7)]}
    return make_manifest(tmp_path, lengths, Settings(windows=4), excluded=excluded)


def test_each_table_holds_the_rows_of_its_shard(url: str) -> None:
    phase = Phase(url)
    for shard, rows in zip(SHARDS, phase.rows.of(*whole(phase)), strict=True):
        opened = phase.shards.mapped([int(shard)])[0]
        assert rows.shape[1] == phase.shards.num_rows[shard]
        assert (opened.offsets[rows[DOCUMENT]] + rows[START] == rows[BEGIN]).all()
        ends = rows[START] + rows[LENGTH]
        assert (ends <= opened.lengths[rows[DOCUMENT]]).all()


@pytest.mark.parametrize("limit", ["_KEPT_ROWS", "_ROWS_AT_ONCE", "_WINDOWS_AHEAD"])
def test_limits_change_no_row(url: str, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    phase = Phase(url)
    expected = phase.rows.of(*whole(phase))
    monkeypatch.setattr(f"trainer.open_rows.{limit}", 1)
    phase = Phase(url)
    for _ in range(2):  # the second time, what was kept is taken
        found = phase.rows.of(*whole(phase))
        assert [rows.tolist() for rows in found] == [rows.tolist() for rows in expected]


def test_parts_are_those_of_the_whole_in_whatever_order_they_are_asked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    phase = Phase(url)
    expected = phase.rows.of(*whole(phase))
    monkeypatch.setattr("trainer.open_rows._FEWEST_ROWS", 1)
    monkeypatch.setattr("trainer.open_rows._WINDOWS_AHEAD", 2)
    phase, draw = Phase(url), np.random.default_rng(0)
    for _ in range(50):
        last = draw.integers(1, phase.shards.num_rows[SHARDS] + 1)
        first = draw.integers(0, last)
        found = phase.rows.of(SHARDS, EPOCHS, first, last)
        for rows, table, a, b in zip(found, expected, first, last, strict=True):
            assert rows.tolist() == table[:, a:b].tolist()


def test_a_shard_larger_than_what_is_kept_is_not_sorted_at_every_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = {name: [[20] * 400] for name in STRATA}
    phase = Phase(make_manifest(tmp_path, lengths, Settings(windows=40)))
    expected = [phase.plan(window).digest() for window in range(40)]
    monkeypatch.setattr("trainer.open_rows._KEPT_ROWS", 1)
    monkeypatch.setattr("trainer.open_rows._FEWEST_ROWS", 1)
    phase = Phase(make_manifest(tmp_path / "again", lengths, Settings(windows=40)))
    calls = Mock(side_effect=phase.rows._read)
    monkeypatch.setattr(phase.rows, "_read", calls)
    assert [phase.plan(window).digest() for window in range(40)] == expected
    assert calls.call_count == 3  # 16 windows at a time, each of 10 rows of a shard
    tables = [kept.rows for kept in phase.rows._open.values()]
    assert sum(table.shape[1] for table in tables) <= len(STRATA) * 160
    assert all(table.base is None for table in tables)  # nothing of the shard's other rows


def test_an_excluded_document_has_rows_only_if_it_was_delivered_before(url: str) -> None:
    phase = Phase(url)
    tables = phase.rows.of(*whole(phase))
    assert 4 not in tables[1][DOCUMENT]
    assert 7 in tables[2][DOCUMENT]
    assert phase.rows.have_holes(SHARDS).tolist() == [False, False, True, False]
    assert phase.rows.holes(2, 1).tolist() == []
    assert phase.rows.holes(2, 2).tolist() == [7]
