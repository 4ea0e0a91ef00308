"""Packs: filled in a keyed order, full, and of every kind of document."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.manifest import Packing
from trainer.pack import arrange, fit, row_hashes

PACKING = Packing(pack_tokens=49_152, max_pieces=1_024, window_packs=200)


def hashes_of(num_rows: list[int], window: int = 0) -> np.ndarray:
    """Of so many rows of each of some strata."""
    rows = np.concatenate([np.arange(num) for num in num_rows])
    return row_hashes(1, window, np.arange(len(num_rows), dtype=np.uint64), num_rows, rows)


def reference_fit(lengths: list[int], packing: Packing) -> list[int]:
    """The definition, read aloud."""
    rooms, pieces, packs = [], [], []
    for row, length in enumerate(lengths):
        next_fit = row < len(lengths) - len(lengths) // 10
        fits = [
            (room, pack)
            for pack, room in enumerate(rooms)
            if room >= length
            and pieces[pack] < packing.max_pieces
            and (pack == len(rooms) - 1 or not next_fit)
        ]
        if not fits:
            fits = [(packing.pack_tokens, len(rooms))]
            rooms.append(packing.pack_tokens)
            pieces.append(0)
        _, pack = min(fits)
        rooms[pack] -= length
        pieces[pack] += 1
        packs.append(pack)
    return packs


@given(
    st.lists(st.integers(3, 64), max_size=300),
    st.integers(64, 200),
    st.sampled_from([1, 3, 50]),
)
def test_the_last_tenth_goes_to_the_fullest_packs_that_hold_it(
    lengths: list[int], pack_tokens: int, max_pieces: int
) -> None:
    packing = Packing(pack_tokens=pack_tokens, max_pieces=max_pieces, window_packs=1)
    packs, num_packs = fit(np.array(lengths, np.int64), packing)
    assert packs.tolist() == reference_fit(lengths, packing)
    assert num_packs == len(set(packs.tolist()))


@given(st.lists(st.integers(3, 64), max_size=120))
def test_every_row_is_in_one_pack_and_no_pack_overflows(lengths: list[int]) -> None:
    packing = Packing(pack_tokens=100, max_pieces=7, window_packs=1)
    rows = np.array(lengths, np.int64)
    order, bounds = arrange(1, 0, hashes_of([rows.size]), rows, packing)
    assert sorted(order.tolist()) == list(range(rows.size))
    assert bounds[0] == 0
    assert bounds[-1] == rows.size
    for first, last in pairwise(bounds):
        assert 0 < last - first <= packing.max_pieces
        assert rows[order[first:last]].sum() <= packing.pack_tokens


def log_normal_rows(num_packs: int, seed: int, context: int) -> np.ndarray:
    """Lengths of rows of log-normal documents, long ones cut, in a random order."""
    rng = np.random.default_rng(seed)
    documents = np.exp(rng.normal(6.3, 1.1, num_packs * PACKING.pack_tokens // 900)).astype(int) + 1
    full, tail = np.divmod(documents, context - 2)
    rows = np.concatenate([np.full(full.sum(), context), tail[tail >= 32] + 2])
    rng.shuffle(rows)
    return rows


def test_log_normal_documents_fill_their_packs() -> None:
    """99.95 % measured at 2,000 packs a window and contexts 1,024 and 8,192; 99.7 at these 200."""
    for context in (1_024, 8_192):
        rows = log_normal_rows(200, 0, context)
        _, num_packs = fit(rows, PACKING)
        assert rows.sum() / (num_packs * PACKING.pack_tokens) > 0.99


def chi_square_excess(first: np.ndarray, second: np.ndarray) -> float:
    """How far the contingency table of two labels lies beyond independence, in sigmas."""
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)
    table = table[table.sum(1) > 0]
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return (((table - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("context", [1_024, 8_192])
def test_neither_length_nor_language_tells_the_pack_or_the_place(context: int) -> None:
    """Chi-square at 200 packs and 4 languages whose documents differ in length."""
    parts = [log_normal_rows(50, seed, context) // (1 + seed) + 3 for seed in range(4)]
    lengths = np.concatenate(parts)
    language = np.repeat(np.arange(4), [part.size for part in parts])
    hashes = hashes_of([part.size for part in parts])
    order, bounds = arrange(1, 0, hashes, lengths, PACKING)
    pieces = np.diff(bounds)
    pack = np.repeat(np.arange(pieces.size), pieces) * 10 // pieces.size
    place = (
        (np.arange(order.size) - np.repeat(bounds[:-1], pieces)) * 10 // np.repeat(pieces, pieces)
    )
    tenth = np.searchsorted(np.quantile(lengths, np.arange(0.1, 1, 0.1)), lengths)
    for what in (tenth[order], language[order]):
        assert chi_square_excess(what, pack) < 5
        assert chi_square_excess(what, place) < 5


def test_rare_short_rows_are_spread_over_all_packs() -> None:
    """In order of opening the first tenth of these packs holds four times its share of them."""
    share = np.zeros(10)
    packing = Packing(pack_tokens=12_288, max_pieces=1_024, window_packs=200)
    for window in range(200):
        short = np.random.default_rng(window).random(2_000) < 0.03
        lengths = np.where(short, 40, 1_024)
        order, bounds = arrange(1, window, hashes_of([2_000], window), lengths, packing)
        num_packs = bounds.size - 1
        tenth = np.repeat(np.arange(num_packs), np.diff(bounds)) * 10 // num_packs
        share += np.bincount(tenth[short[order]], minlength=10) / short.sum() * 10 / 200
    assert np.abs(share - 1).max() < 0.6
