"""Packs are alike: which pack a row is in, and where in it, tells nothing of its length, language
or source. Chi-square and correlation over a window of 200 packs; rows that are sorted by length, as
other packers do for the sake of fullness, are shown to fail.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from schemas.keyed import keyed, keyed_array
from schemas.rows import I64
from tests.unit.trainer.test_pack import PACKING, chi_square_excess, log_normal_rows
from trainer.pack import arrange

SIGMAS = 5.0
PARTS = 6  # three languages in two sources


class Packed(NamedTuple):
    """Rows [r] as they are delivered."""

    length: I64
    tenth: I64  # of all lengths
    language: I64
    source: I64
    pack: I64
    place: I64  # tenth of its pack

    @property
    def kinds(self) -> tuple[I64, ...]:
        return self.tenth, self.language, self.source


def packed(context: int, by_length: bool = False) -> Packed:
    """Log-normal documents in each of the parts, shorter in some languages than in others."""
    parts = [log_normal_rows(33, part, context) // (1 + part % 3) + 3 for part in range(PARTS)]
    lengths = np.concatenate(parts)
    part = np.repeat(np.arange(PARTS), [rows.size for rows in parts])
    turns = np.argsort(np.argsort(lengths, kind="stable")).astype(np.uint64)
    hashes = turns if by_length else keyed_array(keyed(1), np.arange(turns.size, dtype=np.uint64))
    order, bounds = arrange(1, 0, hashes, lengths, PACKING)
    pieces = np.diff(bounds)
    place = np.arange(order.size) - np.repeat(bounds[:-1], pieces)
    tenth = np.searchsorted(np.quantile(lengths, np.arange(0.1, 1, 0.1)), lengths)
    return Packed(
        length=lengths[order],
        tenth=tenth[order],
        language=part[order] % 3,
        source=part[order] // 3,
        pack=np.repeat(np.arange(pieces.size), pieces),
        place=place * 10 // np.repeat(pieces, pieces),
    )


def correlation(first: I64, second: I64) -> float:
    """Pearson's, in sigmas of what independent ones have."""
    return abs(float(np.corrcoef(first, second)[0, 1])) * float(np.sqrt(first.size))


@pytest.mark.parametrize("context", [1_024, 8_192])
def test_neither_length_nor_language_nor_source_tells_the_pack_or_the_place(context: int) -> None:
    rows = packed(context)
    num_packs = int(rows.pack.max()) + 1
    for kind in rows.kinds:
        for where in (rows.pack, rows.pack * 10 // num_packs, rows.place):
            assert chi_square_excess(kind, where) < SIGMAS
    assert correlation(rows.length, rows.pack) < SIGMAS
    assert correlation(rows.length, rows.place) < SIGMAS


@pytest.mark.parametrize("context", [1_024, 8_192])
def test_rows_that_are_sorted_by_length_make_packs_of_one_kind(context: int) -> None:
    """The test above would see it, by two orders of magnitude."""
    rows = packed(context, by_length=True)
    assert chi_square_excess(rows.tenth, rows.pack) > 100 * SIGMAS
    assert chi_square_excess(rows.language, rows.pack) > 10 * SIGMAS


def test_pieces_that_are_sorted_inside_a_pack_would_be_seen() -> None:
    rows = packed(1_024)
    order = np.lexsort((rows.length, rows.pack))
    assert chi_square_excess(rows.tenth[order], rows.place) > 100 * SIGMAS
    assert correlation(rows.length[order], rows.place) > 10 * SIGMAS
