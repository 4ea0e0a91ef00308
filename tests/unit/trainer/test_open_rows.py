"""Rows are the same however many of them are cut at once, and however few are kept."""

from pathlib import Path

import numpy as np
import pytest

from tests.stores import Settings, make_manifest
from trainer.open_rows import BEGIN, DOCUMENT, LENGTH, START
from trainer.phase import Phase

STRATA = ("fineweb2/deu_Latn/all", "fineweb2/fao_Latn/all")
SHARDS, EPOCHS = np.array([0, 1, 2, 0]), np.array([0, 0, 3, 1])


@pytest.fixture
def url(tmp_path: Path) -> str:
    draw = np.random.default_rng(0)
    lengths = {name: [draw.integers(1, 400, 20).tolist() for _ in range(2)] for name in STRATA}
    excluded = {0: [(STRATA[0], 1, 4)], 2: [(STRATA[1], 0, 7)]}
    return make_manifest(tmp_path, lengths, Settings(windows=4), excluded=excluded)


def test_each_table_holds_the_rows_of_its_shard(url: str) -> None:
    phase = Phase(url)
    for shard, rows in zip(SHARDS, phase.rows.of(SHARDS, EPOCHS), strict=True):
        opened = phase.shards.mapped(int(shard))
        assert rows.shape[1] == phase.shards.num_rows[shard]
        assert (opened.offsets[rows[DOCUMENT]] + rows[START] == rows[BEGIN]).all()
        ends = rows[START] + rows[LENGTH]
        assert (ends <= opened.lengths[rows[DOCUMENT]]).all()


@pytest.mark.parametrize("limit", ["_KEPT_ROWS", "_ROWS_AT_ONCE"])
def test_limits_change_no_row(url: str, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Phase(url).rows.of(SHARDS, EPOCHS)
    monkeypatch.setattr(f"trainer.open_rows.{limit}", 1)
    phase = Phase(url)
    for _ in range(2):  # the second time, what was kept is taken
        found = phase.rows.of(SHARDS, EPOCHS)
        assert [rows.tolist() for rows in found] == [rows.tolist() for rows in expected]


def test_an_excluded_document_has_rows_only_if_it_was_delivered_before(url: str) -> None:
    phase = Phase(url)
    tables = phase.rows.of(SHARDS, EPOCHS)
    assert 4 not in tables[1][DOCUMENT]
    assert 7 in tables[2][DOCUMENT]
    assert phase.rows.have_holes(SHARDS).tolist() == [False, False, True, False]
    assert phase.rows.holes(2, 1).tolist() == []
    assert phase.rows.holes(2, 2).tolist() == [7]
