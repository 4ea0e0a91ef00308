"""Where the next rows of all strata lie: which part of which shard, in the order of its epoch.

In: the rows [first, last) that each stratum delivers. Out: spans, by stratum and in the order of
delivery. Arrays over all strata at once (trainer/order.py has the arithmetic): a loop over 1,833
languages would cost more than to read their tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from schemas.keyed import U64
from schemas.rows import I64
from trainer.by_hash import by_group_and_hash
from trainer.order import shard_hashes


@dataclass(frozen=True)
class Spans:
    """Rows [first, last) of one epoch's order of one shard; each field is [s]."""

    stratum: I64  # its place in the manifest
    shard: I64  # its place in the shard table
    epoch: I64
    first: I64
    last: I64
    row: I64  # the number in the stratum of the first

    @property
    def num_rows(self) -> I64:
        return self.last - self.first


@dataclass(frozen=True)
class StratumShards:
    """The shards of strata [l]: those of stratum j are shard[bounds[j] : bounds[j + 1]]."""

    ids: U64  # [l]
    bounds: I64  # [l + 1]
    shard: I64  # [s] places in the shard table
    digests: U64  # of the shard table, as is the next
    num_rows: I64

    @classmethod
    def of(cls, ids: U64, stratum: NDArray[np.int32], digests: U64, num_rows: I64) -> StratumShards:
        """By the stratum of each shard of the table."""
        bounds = np.zeros(ids.size + 1, np.int64)
        np.cumsum(np.bincount(stratum, minlength=ids.size), out=bounds[1:])
        return cls(ids, bounds, np.argsort(stratum, kind="stable"), digests, num_rows)

    @cached_property
    def rows_available(self) -> I64:
        """Rows of each stratum [l]."""
        ends = np.concatenate([[0], np.cumsum(self.num_rows[self.shard])])
        return np.diff(ends[self.bounds])


def spans(key: int, shards: StratumShards, first: I64, last: I64) -> Spans:
    """Where rows [first, last) of each stratum [l] lie; a stratum that delivers any has rows."""
    stratum, epoch = _epochs(shards.rows_available, first, last)
    # every shard of these strata, once an epoch and in its order
    num_shards = np.diff(shards.bounds)[stratum]
    part = np.repeat(np.arange(stratum.size), num_shards)
    shard = shards.shard[shards.bounds[stratum][part] + within(num_shards)]
    ids, epochs = shards.ids[stratum][part], epoch.astype(np.uint64)[part]
    order = by_group_and_hash(part, shard_hashes(key, ids, epochs, shards.digests[shard]))
    shard, stratum, epoch = shard[order], stratum[part], epoch[part]

    num_rows, available = shards.num_rows[shard], shards.rows_available[stratum]
    ends = np.cumsum(num_rows)
    new = np.diff(part, prepend=-1) != 0
    before = (ends - num_rows) - np.repeat((ends - num_rows)[new], num_shards)
    row = epoch * available + before  # the number of the shard's first
    begin, end = np.maximum(first[stratum] - row, 0), np.minimum(last[stratum] - row, num_rows)
    some = begin < end
    columns = (stratum, shard, epoch, begin, end, row + begin)
    return Spans(*(column[some] for column in columns))


def within(counts: I64) -> I64:
    """0, 1, ... up to each of the counts, one after another."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _epochs(available: I64, first: I64, last: I64) -> tuple[I64, I64]:
    """The strata that deliver rows, each once for every epoch that it delivers of."""
    stratum = np.flatnonzero(last > first)
    begin = first[stratum] // available[stratum]
    num_epochs = (last[stratum] - 1) // available[stratum] - begin + 1
    return np.repeat(stratum, num_epochs), np.repeat(begin, num_epochs) + within(num_epochs)
