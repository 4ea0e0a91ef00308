"""The text of a record, of one part or of several: question and answer, the turns of a talk.

In: the values that stand at `fields.text`. A string is a part; a list of {"role", "content"}, or of
strings, is one part a turn, the roles left out; nothing (null) is no part. Out: the parts joined by
a blank line, or the reason why there is no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextRead:
    """A text, or the reason why there is none; bytes of its parts, as far as they are strings."""

    text: str | None
    reason: str | None = None
    detail: str = ""
    num_bytes: int = 0


def join_parts(values: Sequence[object]) -> TextRead:
    """Strings come as str, or as bytes that need not be UTF-8."""
    parts: list[object] = []
    for value in values:
        parts += [_content(turn) for turn in value] if isinstance(value, list) else [value]
    num_bytes = sum(len(part) for part in parts if isinstance(part, bytes))
    texts = []
    for part in parts:
        if part is None:
            continue
        if isinstance(part, bytes):
            try:
                part = part.decode()
            except UnicodeDecodeError as error:
                return TextRead(None, "bad_utf8", f"byte {error.start} of the text", num_bytes)
        if not isinstance(part, str):
            return TextRead(None, "no_text", f"a {type(part).__name__} in its place", num_bytes)
        if (place := lone_surrogate(part)) is not None:
            detail = f"lone surrogate at character {place}"
            return TextRead(None, "bad_utf8", detail, num_bytes)
        texts.append(part)
    if not texts:
        return TextRead(None, "no_text", "", num_bytes)
    return TextRead("\n\n".join(filter(None, texts)), num_bytes=num_bytes)


def _content(turn: object) -> object:
    """What a turn says; a turn that is a string says itself."""
    return turn["content"] if isinstance(turn, dict) and "content" in turn else turn


def lone_surrogate(text: str) -> int | None:
    """Where a text has half of a surrogate pair: JSON can spell it, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None
