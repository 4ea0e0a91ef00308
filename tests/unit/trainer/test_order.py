"""Which row comes when: each once before any repeats, and in its window to within one row."""

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.keyed import keyed
from trainer.order import (
    WHEN,
    delivered,
    phase_key,
    row_hashes,
    shard_hashes,
    tail_keys,
    when_offsets,
)
from trainer.spans import StratumShards, spans

KEY = phase_key(7, "pretrain")
SHARDS = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(lambda rows: sum(rows) > 0)


def rows_of(num_rows: list[int], first: int, last: int) -> list[tuple[int, int]]:
    """(shard, row) of rows [first, last) of a stratum whose shards have these rows."""
    digests = np.arange(100, 100 + len(num_rows), dtype=np.uint64)
    of_stratum = np.zeros(len(num_rows), np.int32)
    shards = StratumShards.of(np.array([5], np.uint64), of_stratum, digests, np.array(num_rows))
    found = spans(KEY, shards, np.array([first]), np.array([last]))
    assert (np.diff(found.row) == found.num_rows[:-1]).all()
    return [
        (shard, int(row))
        for shard, epoch, begin, end in zip(
            found.shard.tolist(), found.epoch.tolist(), found.first, found.last, strict=True
        )
        for row in row_order(KEY, epoch, int(digests[shard]), num_rows[shard])[begin:end]
    ]


def row_order(key: int, epoch: int, shard: int, num_rows: int) -> np.ndarray:
    rows = np.arange(num_rows, dtype=np.uint64)
    return np.argsort(row_hashes(key, np.uint64([epoch]), np.uint64([shard]), rows), kind="stable")


@given(SHARDS, st.integers(1, 4))
def test_each_row_comes_once_before_any_repeats(num_rows: list[int], epochs: int) -> None:
    available = sum(num_rows)
    everything = {(s, r) for s, rows in enumerate(num_rows) for r in range(rows)}
    rows = rows_of(num_rows, 0, epochs * available)
    for epoch in range(epochs):
        part = rows[epoch * available : (epoch + 1) * available]
        assert len(part) == len(set(part)) == available
        assert set(part) == everything


@given(SHARDS, st.lists(st.integers(0, 60), min_size=1, max_size=6))
def test_any_cut_into_windows_gives_the_same_sequence(num_rows: list[int], cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts)]
    parts = [rows_of(num_rows, *pair) for pair in pairwise(bounds)]
    assert list(chain(*parts)) == rows_of(num_rows, 0, bounds[-1])


def test_every_epoch_and_phase_and_seed_has_an_order_of_its_own() -> None:
    keys = [KEY, phase_key(7, "extend"), phase_key(8, "pretrain")]
    digests = np.arange(1000, dtype=np.uint64)
    rows = {tuple(row_order(key, epoch, 1, 1000)) for key in keys for epoch in range(3)}
    shards = {
        tuple(np.argsort(shard_hashes(key, np.uint64([1]), np.uint64([epoch]), digests)))
        for key in keys
        for epoch in range(3)
    }
    assert len(rows) == len(shards) == 9
    # No order resembles another: a rank correlation of 1,000 rows beyond 0.15 is a 5 sigma event.
    assert np.abs(np.corrcoef([np.argsort(order) for order in rows]) - np.eye(9)).max() < 0.15


def test_a_stratum_comes_in_another_order_each_epoch() -> None:
    num_rows = [30, 20]
    epochs = [tuple(rows_of(num_rows, first, first + 50)) for first in (0, 50, 100)]
    assert len(set(epochs)) == 3


def test_a_document_is_cut_alike_in_every_phase() -> None:
    def keys(seed: int, shard: int, num: int) -> list[int]:
        return tail_keys(seed, np.uint64([shard]), np.arange(num, dtype=np.uint64)).tolist()

    assert keys(7, 1, 4) == keys(7, 1, 9)[:4]
    assert len({*keys(7, 1, 4), *keys(8, 1, 4), *keys(7, 2, 4)}) == 12


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=20), st.integers(1, 300))
def test_a_stratum_is_within_one_row_of_its_target_at_every_window(
    quotas: list[int], num_windows: int
) -> None:
    rows = np.array(quotas)
    offsets = when_offsets(KEY, np.arange(rows.size, dtype=np.uint64), num_windows)
    for window in range(num_windows + 1):
        done = delivered(rows, offsets, window, num_windows)
        # |done - window K / N| < 1, in integers
        assert (np.abs(done * num_windows - window * rows) < num_windows).all()
        assert window or not done.any()
    assert delivered(rows, offsets, num_windows, num_windows).tolist() == quotas


def test_one_row_among_a_hundred_million_is_delivered() -> None:
    quotas, num_windows = np.array([1, 10**8]), 10_000
    offsets = when_offsets(KEY, np.array([1, 2], np.uint64), num_windows)
    at = [int(delivered(quotas, offsets, w, num_windows)[0]) for w in range(num_windows + 1)]
    assert at[0] == 0
    assert at[-1] == 1
    assert at.index(1) == num_windows - keyed(KEY, WHEN, 1) % num_windows


def test_single_rows_are_spread_over_all_windows() -> None:
    num_windows = 10
    offsets = when_offsets(KEY, np.arange(1000, dtype=np.uint64), num_windows)
    ones = np.ones(1000, np.int64)
    done = [delivered(ones, offsets, w, num_windows).sum() for w in range(num_windows + 1)]
    assert np.diff(done).min() > 60
    assert np.diff(done).max() < 140


@pytest.mark.parametrize("window", [0, 1, 99_999_999, 123_456_789, 2**30])
def test_quotas_beyond_64_bits_in_the_product_stay_exact(window: int) -> None:
    quota, offset, num_windows = 2**62 + 12_345, 777, 2**30
    found = delivered(np.array([quota]), np.array([offset]), window, num_windows)
    assert int(found[0]) == (window * quota + offset) // num_windows
