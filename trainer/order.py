"""The data order of a phase: which row comes next in a stratum, and in which window.

    k          = keyed(seed, key64("mmbert"), key64(phase name))          the phase's key
    which      row i of a stratum of R rows is row i mod R of epoch e = i div R. In an epoch the
               shards come in the order of keyed(k, "shards", stratum, e, shard), the rows of a
               shard in the order of keyed(k, "rows", e, shard, row), ties in their natural order
    when       C(w) = floor((w K + U) / N) rows are delivered before window w of N, where K is the
               stratum's quota and U = keyed(k, "when", stratum) mod N. C(0) = 0, C(N) = K, and
               |C(w) - w K / N| < 1 for every w, however small K is
    knots      a manifest whose weights change inside the phase says how many rows K_j are
               delivered before windows w_0 = 0 < w_1 < ... < w_m = N. Between two of them, with
               n = w_{j+1} - w_j and U_j = keyed(k, "when", stratum) mod n,
                   C(w) = K_j + floor(((w - w_j) (K_{j+1} - K_j) + U_j) / n)
               which is the line above where m = 1
    segments   a manifest that continues another from window v plans the windows from v on; v is
               one of its knots, and K at v what the other has delivered by then
    tails      a document is cut with the key keyed("tail", seed, shard, document): the same at
               every phase of one context

A purpose in quotes stands for key64 of it; a stratum or a shard for its id or digest, 16
hexadecimal digits read as one integer. A row is numbered by its place among the rows of its shard
in document order; documents excluded from window 0 give no rows. Nothing here reads a token, and
nothing depends on anything that was computed before: any process can ask for any window.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from schemas.keyed import U64, key64, keyed, keyed_array
from schemas.rows import I64

if TYPE_CHECKING:
    from schemas.manifest import Manifest

ROWS, SHARDS, WHEN, TAIL = (key64(purpose) for purpose in ("rows", "shards", "when", "tail"))


def phase_key(seed: int, phase: str) -> int:
    return keyed(seed, key64("mmbert"), key64(phase))


def id64(digits: str) -> int:
    """A stratum id or a shard digest as one integer."""
    return int(digits, 16)


def tail_keys(seed: int, shards: U64, documents: U64) -> U64:
    """The keys that `schemas.rows.cut` takes, one a document."""
    return keyed_array(keyed_array(keyed(TAIL, seed), shards), documents)


def when_offsets(key: int, strata: U64, num_windows: int) -> I64:
    """U of each stratum, in [0, num_windows)."""
    return (keyed_array(keyed(key, WHEN), strata) % np.uint64(num_windows)).astype(np.int64)


def delivered(quotas: I64, offsets: I64, window: int, num_windows: int) -> I64:
    """floor((w K + U) / N) of each stratum [l], K its quota and U its offset."""
    # w K may pass 2**63; with K = a N + b, floor((w K + U) / N) = w a + floor((w b + U) / N).
    whole, part = np.divmod(quotas, num_windows)
    return window * whole + (window * part + offsets) // num_windows


@dataclass(frozen=True)
class Schedule:
    """When the rows of strata [l] are delivered, in pieces [m] that follow one another.

    A piece makes for `aims` at window `ends`; it is left sooner where a segment begins.
    """

    starts: I64  # [m] windows
    ends: I64  # [m]
    rows: I64  # [m, l] delivered before `starts`
    aims: I64  # [m, l]
    key: int
    strata: U64  # [l] ids

    @classmethod
    def of(cls, *line: Manifest) -> Schedule:
        """Of a phase, by the manifests that plan it, the first one first (schemas/segments.py)."""
        last = line[-1]
        size = len(last.strata)
        starts, ends, rows, aims = [], [], [], []
        until_windows = [*(manifest.from_window for manifest in line[1:]), last.windows]
        for manifest, until in zip(line, until_windows, strict=True):
            windows = (0, *manifest.knots, manifest.windows)
            known = np.zeros((len(windows), size), np.int64)  # what came later has none
            shares = [(0, *stratum.knots, stratum.rows) for stratum in manifest.strata]
            known[:, : len(shares)] = np.array(shares, np.int64).T
            first = 0 if manifest is line[0] else manifest.from_window
            for piece, (start, end) in enumerate(pairwise(windows)):
                if first <= start < until:
                    starts.append(start)
                    ends.append(end)
                    rows.append(known[piece])
                    aims.append(known[piece + 1])
        ids = np.array([id64(stratum.id) for stratum in last.strata], np.uint64)
        key = phase_key(last.seed, last.phase)
        return cls(np.array(starts), np.array(ends), np.array(rows), np.array(aims), key, ids)

    def delivered(self, window: int) -> I64:
        """C(window) of each stratum [l]: the rows it has delivered before the window begins."""
        piece = int(np.searchsorted(self.starts, window, side="right")) - 1
        start = int(self.starts[piece])
        length = int(self.ends[piece]) - start
        wanted = self.aims[piece] - self.rows[piece]
        offsets = when_offsets(self.key, self.strata, length)
        return self.rows[piece] + delivered(wanted, offsets, window - start, length)


def row_hashes(key: int, epochs: U64, shards: U64, rows: U64) -> U64:
    """What orders the rows of a shard in an epoch."""
    return keyed_array(keyed_array(keyed_array(keyed(key, ROWS), epochs), shards), rows)


def shard_hashes(key: int, strata: U64, epochs: U64, shards: U64) -> U64:
    """What orders the shards of a stratum in an epoch."""
    return keyed_array(keyed_array(keyed_array(keyed(key, SHARDS), strata), epochs), shards)
