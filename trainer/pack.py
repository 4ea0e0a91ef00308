"""From the rows of a window to its packs.

    order      the rows of all strata in the order of keyed(k, "pack", window, stratum, i), i the
               number of the row in its stratum; ties by stratum, then i
    best fit   each row goes to the fullest open pack that still holds it, of equally full ones
               to the one opened first; where none holds it, a pack is opened. A pack of
               max_pieces rows is closed. Nothing is carried to the next window
    delivery   the packs of a window in the order of keyed(k, "packs", window, opening number),
               the rows of a pack in the order of keyed("places", the row's hash above)

Rows are never sorted by length: that makes packs of one kind of document. Best fit in a keyed
order fills 99.95 % of 2,000 packs; what it leaves are a few tokens a pack and most of the last.
It places short rows last, into the gaps of full packs, and where they are rare (3 % among rows of
full context, 200 packs) the first tenth of the packs opened gets 37 % more of them than average,
the last 38 % less. Hence the keyed delivery: a row is as likely to be in any pack of the window,
and at any place of its pack, as every other.
"""

from __future__ import annotations

from bisect import bisect_left, insort
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


def row_hashes(key: int, window: int, strata: U64, rows: I64) -> U64:
    """What orders the rows [r] of a window: their strata's ids, their numbers in them."""
    return keyed_array(keyed_array(keyed(key, PACK, window), strata), rows.astype(np.uint64))


def best_fit(lengths: I64, packing: Packing) -> tuple[I64, int]:
    """The pack of each row, numbered in order of opening, and the number of packs.

    lengths [r] in the order of placement, BOS and EOS counted, none above packing.pack_tokens.
    """
    longest = int(lengths.max(initial=0))
    assert longest <= packing.pack_tokens, f"a row of {longest} tokens is longer than a pack"
    packs: list[int] = []
    # One pack at most holds a row of any length: were there two, the second was opened in vain. The
    # rest wait as room * 2**32 + number, sorted: the first that holds n is the first >= n * 2**32.
    # So most rows cost one comparison; a list of a few hundred integers costs less to keep sorted
    # than any tree in Python.
    newest, room, places = -1, 0, 0
    waiting: list[int] = []
    places_of: dict[int, int] = {}
    widest = -1  # the room of the last that waits
    for length in lengths.tolist():
        if not widest < length <= room:
            at = bisect_left(waiting, length << 32)
            if at < len(waiting):
                found = waiting.pop(at) - (length << 32)
                pack = found & 0xFFFFFFFF
                packs.append(pack)
                places_of[pack] -= 1
                if places_of[pack] and found >> 32 >= _SMALLEST_ROW:
                    insort(waiting, found)
                widest = waiting[-1] >> 32 if waiting else -1
                continue
            newest, room, places = newest + 1, packing.pack_tokens, packing.max_pieces
        packs.append(newest)
        room -= length
        places -= 1
        if room < longest or not places:
            if room >= _SMALLEST_ROW and places:
                insort(waiting, room << 32 | newest)
                places_of[newest] = places
                widest = waiting[-1] >> 32
            room = 0
    return np.array(packs, dtype=np.int64), newest + 1


def arrange(key: int, window: int, hashes: U64, lengths: I64, packing: Packing) -> tuple[I64, I64]:
    """The packs of a window.

    hashes, lengths [r] of its rows, by stratum and row. Returns (order [r], bounds [p + 1]):
    pack j holds the rows order[bounds[j]:bounds[j + 1]], in that order.
    """
    order = by_hash(hashes)
    opened, num_packs = best_fit(lengths[order], packing)
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
