"""Masking: which tokens of a pack are predicted, and what stands in their place.

    m          = keyed(k, "mask", window, pack) for a pack of the phase with key k
    targets    the n = max(1, round(rate x eligible)) positions of least keyed(m, position), halves
               rounded up, ties to the earlier position; a special id is never a target
    how        h = keyed(m, "how", position):  h < 0.8 x 2**64 becomes <mask>, below 0.9 x 2**64 a
               random id, the rest stay as they are (80 / 10 / 10, Devlin et al. 2019)
    random id  the r-th id of the vocabulary that is not special, r = keyed(m, "id", position)
               modulo their number

`eligible` counts all tokens but BOS and EOS, so the targets of a global batch are known from
lengths alone, before a token is read. Text holds no special ids but perhaps <unk>; only a pack
that is mostly <unk> has fewer targets than counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.keyed import U64, key64, keyed, keyed_array
from schemas.rows import I64

if TYPE_CHECKING:  # the GPU check runs where pydantic is not
    from schemas.seal import SpecialIds

MASK, HOW, ID = (key64(purpose) for purpose in ("mask", "how", "id"))

_MASKED_BELOW = np.uint64(2**64 * 8 // 10)
_RANDOM_BELOW = np.uint64(2**64 * 9 // 10)


@dataclass(frozen=True)
class Masked:
    """A pack as the model sees it: ids [t], and what it has to say at positions [n] (sorted)."""

    ids: I64
    positions: I64
    targets: I64


def mask_key(key: int, window: int, pack: int) -> int:
    return keyed(key, MASK, window, pack)


def num_targets(eligible: I64, rate: float) -> I64:
    """Targets of texts with that many eligible tokens each: at least one, where there is one."""
    rounded = np.floor(rate * eligible + 0.5).astype(np.int64)
    return np.minimum(np.maximum(rounded, 1), eligible)


def mask(
    ids: I64, eligible: int, rate: float, key: int, vocab_size: int, special: SpecialIds
) -> Masked:
    """Mask a pack or a text: ids [t] with BOS and EOS, `eligible` its tokens without them."""
    is_special = np.zeros(vocab_size, bool)
    is_special[list(special.ids())] = True
    candidates = np.flatnonzero(~is_special[ids])
    wanted = int(num_targets(np.array(eligible), rate))
    positions = _smallest(candidates, keyed_array(keyed(key), candidates.astype(np.uint64)), wanted)
    targets = ids[positions]

    where = positions.astype(np.uint64)
    how = keyed_array(keyed(key, HOW), where)
    shown = np.where(how < _MASKED_BELOW, special.mask, targets)
    random = (how >= _MASKED_BELOW) & (how < _RANDOM_BELOW)
    shown[random] = _ordinary(keyed_array(keyed(key, ID), where[random]), vocab_size, special)
    masked = ids.copy()
    masked[positions] = shown
    return Masked(masked, positions, targets)


def _smallest(values: I64, hashes: U64, num: int) -> I64:
    """The values with the `num` smallest hashes, in their own order; ties to the earlier."""
    if num >= values.size:
        return values
    bound = np.partition(hashes, num - 1)[num - 1]
    chosen: NDArray[np.bool_] = hashes < bound
    chosen[np.flatnonzero(hashes == bound)[: num - np.count_nonzero(chosen)]] = True
    return values[chosen]


def _ordinary(hashes: U64, vocab_size: int, special: SpecialIds) -> I64:
    """An id of the vocabulary that is not special for each hash."""
    ids = (hashes % np.uint64(vocab_size - len(special.ids()))).astype(np.int64)
    for taken in special.ids():  # ascending
        ids += ids >= taken
    return ids
