"""The ledger: what became of every record that was read (invariant I1).

    read = kept + dropped

The three sides are counted apart: *read* by the reader (Parquet footers, newlines, bytes), *kept*
by opening the published shards again, *dropped* by counting the table of drops. A ledger that does
not close raises `LedgerError` before anything is published.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

DROPS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("reason", pa.string()),
        ("file", pa.string()),  # relative to the source
        ("record", pa.int64()),  # its place in the file
        ("num_bytes", pa.int64()),  # of its text, or of the raw line when there is no text
        ("detail", pa.string()),
    ]
)


class LedgerError(RuntimeError):
    """Records have gone missing: a bug, never a fault of the input."""


class Frozen(BaseModel):
    """Base of every record on disk: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class UnreadableSpan(Frozen):
    """Bytes of an input file that hold no readable record."""

    file: str
    offset: int = Field(description="first byte of the span in the file as it lies on disk")
    length: int = Field(description="bytes")
    reason: str


class Ledger(Frozen):
    """Counts in documents; bytes are UTF-8 bytes of text, tokens without BOS and EOS."""

    read: int
    kept: int
    dropped: dict[str, int] = {}
    kept_bytes: int = 0
    kept_tokens: int = 0
    repaired: int = Field(0, description="kept documents whose encoding was repaired")
    unreadable: tuple[UnreadableSpan, ...] = ()

    def check(self, where: str) -> Ledger:
        """Self if it closes; LedgerError naming the stratum if not."""
        gone = self.read - self.kept - sum(self.dropped.values())
        if gone:
            raise LedgerError(
                f"the ledger of {where} does not close: read {self.read:,}, kept {self.kept:,}, "
                f"dropped {sum(self.dropped.values()):,}, so {gone:+,} unaccounted for; "
                "nothing was published"
            )
        return self

    def public(self) -> dict[str, int | dict[str, int]]:
        """The form that --json prints: documents only."""
        return {"read": self.read, "kept": self.kept, "dropped": dict(sorted(self.dropped.items()))}


def is_move(reason: str) -> bool:
    """Whether a document went from one stratum of its origin to another: no loss."""
    return reason == "held_out" or reason.startswith("tier_")


def total(ledgers: Iterable[Ledger]) -> Ledger:
    """The sum of ledgers; it closes if each of them does.

    What one stratum gives up to another is read where it is kept, so it counts once.
    """
    read = kept = kept_bytes = kept_tokens = repaired = 0
    dropped: dict[str, int] = {}
    unreadable: list[UnreadableSpan] = []
    for ledger in ledgers:
        read += ledger.read - sum(n for reason, n in ledger.dropped.items() if is_move(reason))
        kept += ledger.kept
        kept_bytes += ledger.kept_bytes
        kept_tokens += ledger.kept_tokens
        repaired += ledger.repaired
        unreadable += ledger.unreadable
        for reason, count in ledger.dropped.items():
            if not is_move(reason):
                dropped[reason] = dropped.get(reason, 0) + count
    return Ledger(
        read=read,
        kept=kept,
        dropped=dict(sorted(dropped.items())),
        kept_bytes=kept_bytes,
        kept_tokens=kept_tokens,
        repaired=repaired,
        unreadable=tuple(unreadable),
    )
