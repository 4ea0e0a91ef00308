"""Sorting by keyed hashes, with equal hashes in their natural order.

Group, the leading bits of the hash and the place share one integer, and integers alone are sorted:
a third of what numpy takes to sort places by hashes, a tenth of a stable sort.
"""

from __future__ import annotations

import numpy as np

from schemas.keyed import U64
from schemas.rows import I64


def by_hash(hashes: U64) -> I64:
    """The places of hashes [n] in ascending order, of equal ones the earlier first."""
    return by_group_and_hash(np.zeros(1, np.int64), hashes)


def by_group_and_hash(groups: I64, hashes: U64) -> I64:
    """The same by group [n] (or [1], of all), numbered from 0, and inside a group by hash."""
    group_bits = int(groups.max(initial=0)).bit_length()
    place_bits = max(0, hashes.size - 1).bit_length()
    # What is left of a hash tells 150,000 rows of 2,000 groups apart, but for one plan in 7,000.
    sorted_by = hashes >> np.uint64(group_bits)
    if group_bits:
        sorted_by |= groups.astype(np.uint64) << np.uint64(64 - group_bits)
    sorted_by &= ~np.uint64((1 << place_bits) - 1)
    sorted_by |= np.arange(hashes.size, dtype=np.uint64)
    sorted_by.sort()
    known = sorted_by >> np.uint64(place_bits)
    if (known[1:] == known[:-1]).any():
        return np.lexsort((hashes, np.broadcast_to(groups, hashes.shape)))
    sorted_by &= np.uint64((1 << place_bits) - 1)
    return sorted_by.view(np.int64)
