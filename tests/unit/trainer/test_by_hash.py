"""Sorting by hashes is stable, with and without equal ones, and inside groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.by_hash import by_group_and_hash, by_hash

HASHES = st.lists(st.sampled_from([0, 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1))


@given(HASHES)
def test_equal_hashes_keep_their_order(hashes: list[int]) -> None:
    expected = sorted(range(len(hashes)), key=lambda at: hashes[at])
    assert by_hash(np.array(hashes, np.uint64)).tolist() == expected


@pytest.mark.parametrize("num_groups", [3, 300, 70_000])
def test_groups_come_one_after_another(num_groups: int) -> None:
    draw = np.random.default_rng(num_groups)
    groups = np.append(draw.integers(0, num_groups, 2_000), num_groups - 1)
    hashes = draw.integers(0, 50, groups.size).astype(np.uint64)
    expected = np.lexsort((hashes, groups))
    assert by_group_and_hash(groups, hashes).tolist() == expected.tolist()
