"""From the rows of a window to its packs.

    order      the rows of all strata in the order of keyed(k, "pack", window, stratum, i), i the
               number of the row in its stratum; ties by stratum, then i
    next fit   the first nine tenths of them: each row goes to the newest pack, where that cannot
               hold it to one that is opened. A pack of max_pieces rows holds no other
    best fit   the last tenth: each row goes to the fullest pack that still holds it, of equally
               full ones to the one opened first; where none holds it, a pack is opened. Nothing
               is carried to the next window
    delivery   the packs of a window in the order of keyed(k, "packs", window, opening number),
               the rows of a pack in the order of keyed("places", the row's hash above)

Rows are never sorted by length: that makes packs of one kind of document. The last tenth fills the
gaps that next fit leaves, half a row a pack on average. So 2,000 packs of log-normal documents
are 99.95 % full at contexts 1,024 and 8,192, as with best fit of all rows, at a third of its cost:
next fit is one search a pack. Short rows come last, into the gaps, and where they are rare some
packs get more of them than others. Hence the keyed delivery: a row is as likely to be in any pack
of the window, and at any place of its pack, as every other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.keyed import U64, key64, keyed, keyed_array
from schemas.rows import I64
from trainer.by_hash import by_group_and_hash, by_hash

if TYPE_CHECKING:  # the GPU check runs where pydantic is not
    from schemas.manifest import Packing

I32 = NDArray[np.int32]

PACK, PACKS, PLACES = (key64(purpose) for purpose in ("pack", "packs", "places"))

_SMALLEST_ROW = 3  # BOS, one token, EOS


@dataclass(frozen=True)
class Piece:
    """Where one row of a pack comes from: tokens [start, start + length) of a document."""

    stratum: int  # its place in the manifest
    shard: str  # digest
    document: int  # its place in the shard
    start: int
    length: int


@dataclass(frozen=True)
class Pack:
    """t tokens in p pieces, each BOS .. EOS and attending to itself only."""

    window: int
    index: int
    ids: I64  # [t]
    positions: I64  # [t], from 0 in each piece
    cu_seqlens: I32  # [p + 1]
    stratum: I32  # [p], as in Piece
    shard: U64  # [p], digests
    document: I32  # [p]
    start: I32  # [p]
    length: I32  # [p], BOS and EOS not counted

    @property
    def num_pieces(self) -> int:
        return self.length.size

    @property
    def eligible(self) -> int:
        """Tokens that masking counts: all but BOS and EOS."""
        return self.ids.size - 2 * self.num_pieces

    def pieces(self) -> list[Piece]:
        rows = zip(self.stratum, self.shard, self.document, self.start, self.length, strict=True)
        return [Piece(int(s), f"{int(x):016x}", int(d), int(a), int(n)) for s, x, d, a, n in rows]


def row_hashes(key: int, window: int, strata: U64, num_rows: I64, rows: I64) -> U64:
    """What orders the rows [r] of a window: num_rows [l] of each of the strata [l], by stratum;
    rows are their numbers in it."""
    keys = keyed_array(keyed(key, PACK, window), strata)
    return keyed_array(np.repeat(keys, num_rows), rows.astype(np.uint64))


def fit(lengths: I64, packing: Packing) -> tuple[I64, int]:
    """The pack of each row, numbered in order of opening, and the number of packs.

    lengths [r] in the order of placement, BOS and EOS counted, none above packing.pack_tokens.
    """
    longest = int(lengths.max(initial=0))
    assert longest <= packing.pack_tokens, f"a row of {longest} tokens is longer than a pack"
    num_next = lengths.size - lengths.size // 10
    bounds, open_packs, places = _next_fit(lengths[:num_next], packing)
    rest: list[int] = []
    # An open pack stands as room * 2**32 + number: the first that holds n is the first of at least
    # n * 2**32, and a list of some thousand integers costs less to keep sorted than any tree in
    # Python. The pack opened last is kept apart while it holds a row of any length: once the gaps
    # are filled, most rows cost one comparison.
    last = room = 0
    widest = open_packs[-1] >> 32 if open_packs else 0
    for length in lengths[num_next:].tolist():
        if widest < length <= room:
            rest.append(last)
            room -= length
            places[last] -= 1
        else:
            at = bisect_left(open_packs, length << 32)
            if at < len(open_packs):
                left = open_packs.pop(at) - (length << 32)
                pack = left & 0xFFFFFFFF
                rest.append(pack)
                places[pack] -= 1
                if places[pack] and left >> 32 >= _SMALLEST_ROW:
                    insort(open_packs, left)
                widest = open_packs[-1] >> 32 if open_packs else 0
                continue
            last, room = len(places), packing.pack_tokens - length
            rest.append(last)
            places.append(packing.max_pieces - 1)
        if room < longest or not places[last]:
            if room >= _SMALLEST_ROW and places[last]:
                insort(open_packs, room << 32 | last)
                widest = open_packs[-1] >> 32
            room = 0
    first = np.repeat(np.arange(bounds.size - 1), np.diff(bounds))
    return np.concatenate([first, np.array(rest, np.int64)]), len(places)


def _next_fit(lengths: I64, packing: Packing) -> tuple[I64, list[int], list[int]]:
    """Rows bounds[j]:bounds[j + 1] in pack j; the packs that rows still fit in, as room * 2**32 +
    number, sorted; and how many more pieces each pack may hold."""
    ends = np.cumsum(lengths).data
    bounds = [0]
    open_packs: list[int] = []
    places: list[int] = []
    begin = done = 0
    while begin < lengths.size:
        most = min(begin + packing.max_pieces, lengths.size)
        end = bisect_right(ends, done + packing.pack_tokens, begin, most)
        room = packing.pack_tokens - (ends[end - 1] - done)
        left = packing.max_pieces - (end - begin)
        if left and room >= _SMALLEST_ROW:
            open_packs.append(room << 32 | len(places))
        bounds.append(end)
        places.append(left)
        begin, done = end, ends[end - 1]
    open_packs.sort()
    return np.array(bounds), open_packs, places


def arrange(key: int, window: int, hashes: U64, lengths: I64, packing: Packing) -> tuple[I64, I64]:
    """The packs of a window.

    hashes, lengths [r] of its rows, by stratum and row. Returns (order [r], bounds [p + 1]):
    pack j holds the rows order[bounds[j]:bounds[j + 1]], in that order.
    """
    order = by_hash(hashes)
    opened, num_packs = fit(lengths[order], packing)
    numbers = np.arange(num_packs, dtype=np.uint64)
    turns = by_hash(keyed_array(keyed(key, PACKS, window), numbers))
    delivered = np.empty(num_packs, np.int64)
    delivered[turns] = np.arange(num_packs)
    pack = delivered[opened]
    places = keyed_array(keyed(PLACES), hashes[order])
    order = order[by_group_and_hash(pack, places)]
    bounds = np.zeros(num_packs + 1, np.int64)
    np.cumsum(np.bincount(pack, minlength=num_packs), out=bounds[1:])
    return order, bounds
