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
from trainer.open_shards import OpenShards
from trainer.order import Schedule, id64, spans
from trainer.pack import arrange, row_hashes


@dataclass(frozen=True)
class WindowPlan:
    """The rows [r] of a window, by pack and place in the pack; pack j is bounds[j]:bounds[j + 1].

    A row is the span [start, start + length) of a document; BOS and EOS are not in `length`.
    """

    window: int
    bounds: I64  # [p + 1]
    stratum: I64  # its place in the manifest
    row: I64  # its number in the stratum
    shard: I64  # its place in the shard table
    document: I64  # its place in the shard
    start: I64
    length: I64
    digests: U64  # of the shard table

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
    ):
        self._key = shards.key
        self._manifest = manifest
        self._schedule = schedule
        self._shards = shards
        self._ids = [id64(stratum.id) for stratum in manifest.strata]
        order = np.argsort(stratum_of_shard, kind="stable")
        strata = np.arange(1, len(manifest.strata))
        self._shards_of = np.split(order, np.searchsorted(stratum_of_shard[order], strata))
        for stratum, indices in zip(manifest.strata, self._shards_of, strict=True):
            if stratum.rows and not shards.num_rows[indices].sum():
                raise UserError(
                    f"the manifest of {manifest.phase} wants {stratum.rows:,} rows of "
                    f"{stratum.source}/{stratum.language}/{stratum.tier}, which has none; "
                    "rebuild the manifest with `mmbert data`"
                )

    def plan(self, window: int) -> WindowPlan:
        assert 0 <= window < self._manifest.windows, window
        first, last = self._schedule.delivered(window), self._schedule.delivered(window + 1)
        parts = [_NO_ROWS]
        hashes = [np.empty(0, np.uint64)]
        for stratum in np.flatnonzero(last > first).tolist():
            rows, row_hash = self._rows(stratum, window, int(first[stratum]), int(last[stratum]))
            parts.append(rows)
            hashes.append(row_hash)
        rows = np.concatenate(parts, axis=1)
        order, bounds = arrange(
            self._key, window, np.concatenate(hashes), rows[-1] + 2, self._manifest.packing
        )
        stratum, row, shard, document, start, length = rows[:, order]
        return WindowPlan(
            window, bounds, stratum, row, shard, document, start, length, self._shards.digests
        )

    def _rows(self, stratum: int, window: int, first: int, last: int) -> tuple[I64, U64]:
        """Rows [first, last) of a stratum without holes, [6, r] as in WindowPlan; their hashes."""
        indices = self._shards_of[stratum]
        parts = [_NO_ROWS]
        number = first
        for span in spans(
            self._key,
            self._ids[stratum],
            self._shards.digests[indices],
            self._shards.num_rows[indices],
            first,
            last,
        ):
            shard = int(indices[span.shard])
            open_rows = self._shards.rows(shard, span.epoch)
            chosen = open_rows.order[span.first : span.last]
            part = np.empty((6, chosen.size), np.int64)
            part[0] = stratum
            part[1] = np.arange(number, number + chosen.size)
            part[2] = shard
            part[3] = open_rows.document[chosen]
            part[4] = open_rows.start[chosen]
            part[5] = open_rows.length[chosen]
            number += chosen.size
            if open_rows.hole_from is not None:
                part = part[:, open_rows.hole_from[chosen] > window]
            parts.append(part)
        assert number == last
        rows = np.concatenate(parts, axis=1)
        hashes = row_hashes(self._key, window, self._ids[stratum], first, last)
        return rows, hashes[rows[1] - first]


_NO_ROWS = np.empty((6, 0), np.int64)
