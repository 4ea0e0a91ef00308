"""A record, and what a reader tells of a file beside its records.

Every record of a file comes out, in order: with its text, or with the reason why it has none.
Bytes in which no record can be found come out as an `UnreadableSpan`. `num_read` is counted apart
from what is yielded: by the Parquet footer, or by the newlines in the decompressed bytes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from pipelines.inventory import InputFile
from schemas.ledger import UnreadableSpan


@dataclass(slots=True)
class Record:
    """One record. `reason` is set when it is dropped, by the reader or by a filter."""

    number: int  # its place in the file
    text: str | None
    native_id: str | None = None
    url: str = ""
    language_score: float | None = None
    quality_score: float | None = None
    reason: str | None = None
    detail: str = ""
    num_bytes: int = 0
    repaired: bool = False


@dataclass
class FileRead:
    """What a reader tells of a file beside its records; complete when the records are."""

    num_read: int = 0
    unreadable: list[UnreadableSpan] = field(default_factory=list)

    def name_empty(self, file: InputFile) -> None:
        """A file without a record is named, so that it is seen."""
        if not self.num_read and not self.unreadable:
            self.unreadable.append(
                UnreadableSpan(
                    file=file.relative, offset=0, length=file.size_bytes, reason="empty file"
                )
            )


def finite(value: object) -> float | None:
    """A finite float; JSON can also spell NaN and integers that no float holds."""
    if isinstance(value, int | float) and abs(value) <= sys.float_info.max:
        return float(value)
    return None
