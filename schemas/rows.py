"""From documents to rows: how a document of n tokens is cut for a context of c tokens.

A row is a piece of at most c - 2 tokens; BOS and EOS make it a row of at most c. With
q, t = divmod(n, c - 2):

    n <= c - 2              one row, whatever its length
    t = 0                   q full rows
    0 < t < DROP_TAIL       q full rows; the t tokens of the tail are dropped (and counted)
    DROP_TAIL <= t          q + 1 rows; a tail shorter than BACKFILL takes r tokens from the end of
                            the row before, r keyed and uniform in [0, c - 2 - t)

which is the "8192-512-32-backfill-nodups" chunking of mmBERT's data (recipe-facts: Ettin's
split_dataset_into_chunks). The *number* of rows and tokens depends on n alone, so pipelines can
count what the trainer will cut without knowing the keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.keyed import U64, keyed_array

I64 = NDArray[np.int64]

DROP_TAIL = 32
BACKFILL = 512
CONTEXTS = tuple(2**k for k in range(6, 16))  # 64 .. 32,768: counted for every stratum


@dataclass(frozen=True)
class RowCount:
    """Rows of a set of documents at one context; `tokens` counts BOS and EOS.

    `tokens_squared` is the sum of (tokens of a row) ** 2 before tails are backfilled: an upper
    bound, for the standard error of quotas that are no whole epochs.
    """

    rows: int
    tokens: int
    dropped_tail_tokens: int
    tokens_squared: int = 0

    def __add__(self, other: RowCount) -> RowCount:
        return RowCount(
            self.rows + other.rows,
            self.tokens + other.tokens,
            self.dropped_tail_tokens + other.dropped_tail_tokens,
            self.tokens_squared + other.tokens_squared,
        )

    def __sub__(self, other: RowCount) -> RowCount:
        return RowCount(
            self.rows - other.rows,
            self.tokens - other.tokens,
            self.dropped_tail_tokens - other.dropped_tail_tokens,
            self.tokens_squared - other.tokens_squared,
        )


def rows_per_document(lengths: I64, context: int) -> I64:
    """Number of rows of each document; lengths [n] in tokens without BOS/EOS, at least 1."""
    full, tail = np.divmod(lengths, context - 2)
    return np.where(full == 0, 1, full + (tail >= DROP_TAIL))


def count_rows(lengths: I64, context: int) -> RowCount:
    """Rows, row tokens (BOS and EOS counted) and dropped tail tokens of documents at a context."""
    return RowCount(*count_each(lengths, context).sum(axis=1).tolist())


def count_each(lengths: I64, context: int) -> I64:
    """The same of each document [n]: [4, n], the fields of a `RowCount` in their order."""
    full, tail = np.divmod(lengths, context - 2)
    without_tail = (full > 0) & (tail < DROP_TAIL)
    dropped = np.where(without_tail, tail, 0)
    rows = rows_per_document(lengths, context)
    last = np.where(without_tail, 0, tail + 2)
    return np.stack([rows, lengths - dropped + 2 * rows, dropped, full * context**2 + last**2])


def cut(lengths: I64, context: int, tail_keys: U64) -> tuple[I64, I64, I64]:
    """The rows of documents, in document order.

    lengths [n] tokens of each document; tail_keys [n] a keyed hash of each document.
    Returns (document [r], start [r], length [r]): the row's document and its span in that
    document's tokens, BOS and EOS not counted.
    """
    body = context - 2
    num_rows = rows_per_document(lengths, context)
    document = np.repeat(np.arange(lengths.size), num_rows)
    first = np.cumsum(num_rows) - num_rows
    piece = np.arange(document.size) - first[document]
    start = piece * body
    length = np.minimum(lengths[document] - start, body)

    tail = lengths - (num_rows - 1) * body
    short = (num_rows > 1) & (tail >= DROP_TAIL) & (tail < min(BACKFILL, body))
    moved = np.zeros(lengths.size, np.int64)
    room = (body - tail[short]).astype(np.uint64)
    moved[short] = (keyed_array(0, tail_keys[short]) % room).astype(np.int64)
    last = first + num_rows - 1
    start[last] -= moved
    length[last] += moved
    length[last[short] - 1] -= moved[short]
    return document, start, length
