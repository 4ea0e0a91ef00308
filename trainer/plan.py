"""The plan of a window: which rows it delivers, and in which packs. Lengths only, never a token.

Every rank computes the whole plan; comparing digests proves that all do the same work.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UserError
from schemas.keyed import U64
from schemas.manifest import Manifest
from schemas.rows import I64
from trainer.mask import num_targets
from trainer.open_rows import DOCUMENT, LENGTH, OpenRows
from trainer.open_shards import OpenShards
from trainer.order import Schedule, id64
from trainer.pack import I32, arrange, row_hashes
from trainer.spans import Spans, StratumShards, spans, within


@dataclass(frozen=True)
class WindowPlan:
    """The rows [r] of a window, by pack and place in the pack; pack j is bounds[j]:bounds[j + 1].

    A row is the span [start, start + length) of a document; BOS and EOS are not in `length`.
    """

    window: int
    bounds: I64  # [p + 1]
    stratum: I32  # its place in the manifest
    row: I64  # its number in the stratum
    shard: I32  # its place in the shard table
    document: I32  # its place in the shard
    start: I32
    length: I32
    begin: I32  # the place of its first token among those of the shard
    digests: U64  # of the shard table
    mask_rate: float

    @property
    def num_packs(self) -> int:
        return self.bounds.size - 1

    @cached_property
    def pack(self) -> I64:
        """The pack of each row."""
        return np.repeat(np.arange(self.num_packs), self.pack_pieces)

    @cached_property
    def place(self) -> I64:
        """The place of each row in its pack."""
        return np.arange(self.row.size) - np.repeat(self.bounds[:-1], self.pack_pieces)

    @cached_property
    def pack_pieces(self) -> I64:
        """Rows of each pack."""
        return np.diff(self.bounds)

    @cached_property
    def pack_lengths(self) -> I64:
        """Tokens of each pack, BOS and EOS counted."""
        ends = np.concatenate([[0], np.cumsum(self.length)])
        return np.diff(ends[self.bounds]) + 2 * self.pack_pieces

    @cached_property
    def tokens_before(self) -> list[int]:
        """Tokens of the window before each pack, and of all of it: as many as `bounds`."""
        return [0, *np.cumsum(self.pack_lengths).tolist()]

    @cached_property
    def targets_before(self) -> list[int]:
        """The same of masked tokens."""
        eligible = self.pack_lengths - 2 * self.pack_pieces
        return [0, *np.cumsum(num_targets(eligible, self.mask_rate)).tolist()]

    def digest(self) -> str:
        """sha256 of the plan, little-endian 64-bit integers; shards stand by their digest."""
        hashed = hashlib.sha256(np.array([self.window, self.num_packs], "<i8").tobytes())
        columns = (self.bounds, self.stratum, self.row, self.document, self.start, self.length)
        for column in columns:
            hashed.update(column.astype("<i8").tobytes())
        hashed.update(self.digests[self.shard].astype("<u8").tobytes())
        return hashed.hexdigest()


class Planner:
    """Plans the windows of a phase; holds what is the same in all of them."""

    def __init__(
        self,
        manifest: Manifest,
        schedule: Schedule,
        stratum_of_shard: NDArray[np.int32],
        shards: OpenShards,
        rows: OpenRows,
    ):
        self._key = shards.key
        self._manifest = manifest
        self._schedule = schedule
        self._shards = shards
        self._rows = rows
        self._ids: U64 = np.array([id64(stratum.id) for stratum in manifest.strata], np.uint64)
        self._of_strata = StratumShards.of(
            self._ids, stratum_of_shard, shards.digests, shards.num_rows
        )
        available = self._of_strata.rows_available.tolist()
        for stratum, num_rows in zip(manifest.strata, available, strict=True):
            if stratum.rows and not num_rows:
                raise UserError(
                    f"the manifest of {manifest.phase} wants {stratum.rows:,} rows of "
                    f"{stratum.source}/{stratum.language}/{stratum.tier}, which has none; "
                    "rebuild the manifest with `mmbert data`"
                )

    def plan(self, window: int) -> WindowPlan:
        assert 0 <= window < self._manifest.windows, window
        if self._shards.are_remote:
            self._shards.expect(self.reads(window), self.reads(window + 1, 1))
        first, last = self._schedule.delivered(window), self._schedule.delivered(window + 1)
        found = self.spans(first, last)
        parts = self._rows.of(found.shard, found.epoch, found.first, found.last)
        rows = np.concatenate([_NO_ROWS, *parts], axis=1)
        stratum = np.repeat(found.stratum.astype(np.int32), found.num_rows)
        shard = np.repeat(found.shard.astype(np.int32), found.num_rows)
        row = np.repeat(found.row, found.num_rows) + within(found.num_rows)

        kept = np.flatnonzero(self._delivered(window, found, rows[DOCUMENT]))
        each = np.bincount(stratum[kept], minlength=self._ids.size)
        hashes = row_hashes(self._key, window, self._ids, each, row[kept])
        lengths = rows[LENGTH][kept] + 2
        order, bounds = arrange(self._key, window, hashes, lengths, self._manifest.packing)
        order = kept[order]
        document, start, length, begin = rows.take(order, axis=1)
        return WindowPlan(
            window,
            bounds,
            stratum[order],
            row[order],
            shard[order],
            document,
            start,
            length,
            begin,
            self._shards.digests,
            self._manifest.mask_rate,
        )

    def reads(self, window: int, further: int = 0) -> list[int]:
        """The shards that hold a window's rows and `further` ones of each stratum, as needed."""
        windows = self._manifest.windows
        first, last, end = (
            self._schedule.delivered(min(w, windows)) for w in (window, window + 1, windows)
        )
        last = np.minimum(last + further, end)
        return self.spans(first, last).shard.tolist()

    def spans(self, first: I64, last: I64) -> Spans:
        """Where rows [first, last) of each stratum lie."""
        return spans(self._key, self._of_strata, first, last)

    def _delivered(self, window: int, found: Spans, document: I32) -> NDArray[np.bool_]:
        """Which rows are no holes in a window; document [r] of the rows of all spans."""
        delivered = np.ones(document.size, bool)
        ends = np.cumsum(found.num_rows)
        for at in np.flatnonzero(self._rows.have_holes(found.shard)).tolist():
            mine = slice(ends[at] - found.num_rows[at], ends[at])
            holes = self._rows.holes(int(found.shard[at]), window)
            delivered[mine] = np.isin(document[mine], holes, invert=True)
        return delivered


_NO_ROWS = np.empty((4, 0), np.int32)
