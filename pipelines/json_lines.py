"""JSON lines, plain, .gz or .zst: every line comes out, as a row or with what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pipelines.decompress import Break, decompress
from pipelines.inventory import InputFile
from pipelines.open_input import open_input
from pipelines.record import FileRead, Record
from pipelines.text_parts import join_parts, lone_surrogate
from schemas.ledger import UnreadableSpan

JsonRow = dict[str, object]


def read_json_lines(
    file: InputFile, told: FileRead, texts: Sequence[str] = ("text",)
) -> Iterator[tuple[Record, JsonRow]]:
    """Each line's record, its text joined of the keys `texts`, and the row; {} where there is none.

    A dotted key that is no key of the row itself leads into the objects inside: `metadata.url`.
    """
    for number, line in enumerate(_lines(file, told)):
        yield _parse(line, number, texts)
    told.name_empty(file)


def value_at(row: JsonRow, dotted: str) -> object:
    """What stands at a key, or None."""
    holder, key = _place(row, dotted)
    return holder.get(key)


def _place(row: JsonRow, dotted: str) -> tuple[JsonRow, str]:
    """The object that a key stands in, if it does, and its name there."""
    first, _, rest = dotted.partition(".")
    inner = row.get(first)
    if dotted in row or not rest or not isinstance(inner, dict):
        return row, dotted
    return _place(inner, rest)


def string(value: object) -> str:
    """A string that UTF-8 can hold; "" for anything else."""
    return value if isinstance(value, str) and lone_surrogate(value) is None else ""


def _lines(file: InputFile, told: FileRead) -> Iterator[bytes]:
    """Every line without its newline. A line that a break cuts belongs to the unreadable span."""
    line: list[bytes] = []  # what came so far of the line that has not ended
    began = 0  # where the piece lies that holds its first byte
    with open_input(file) as raw:
        for piece in decompress(raw, file.relative):
            if isinstance(piece, Break):
                # A break behind a whole member cuts nothing: the last line may lack its newline.
                if line and not piece.inside:
                    told.num_read += 1
                    yield b"".join(line)
                    line = []
                told.unreadable.append(_span(file, piece, began if line else piece.offset))
                line = []
                continue
            told.num_read += piece.data.count(b"\n")
            first, *others = piece.data.split(b"\n")
            if not line:
                began = piece.offset
            line.append(first)
            for other in others:
                yield b"".join(line)
                line, began = [other], piece.offset
            if line == [b""]:
                line = []
    if line:
        told.num_read += 1
        yield b"".join(line)


def _span(file: InputFile, broken: Break, offset: int) -> UnreadableSpan:
    length = broken.end - offset
    return UnreadableSpan(file=file.relative, offset=offset, length=length, reason=broken.reason)


def _parse(line: bytes, number: int, texts: Sequence[str]) -> tuple[Record, JsonRow]:
    record = Record(number, None, num_bytes=len(line))
    encoding = "utf-8" if number else "utf-8-sig"  # a file may begin with a byte order mark
    try:
        row = json.loads(line.decode(encoding))
    except UnicodeDecodeError as error:
        record.reason, record.detail = "bad_utf8", f"byte {error.start} of the line"
        return record, {}
    except (ValueError, RecursionError) as error:  # a plain ValueError for an endless integer
        record.reason, record.detail = "bad_json", str(error)[:200]
        return record, {}
    row = row if isinstance(row, dict) else {}
    for holder, key in (_place(row, name) for name in texts):
        if key not in holder:  # one part of several is no document
            record.reason, record.detail = "no_text", f"no key {key!r}"
            return record, row
    read = join_parts([value_at(row, name) for name in texts])
    record.text, record.reason, record.detail = read.text, read.reason, read.detail
    return record, row
