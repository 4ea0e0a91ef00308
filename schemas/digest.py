"""Content ids: sha256 over canonical JSON, so equal content has an equal name everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

ID_LENGTH = 16  # hexadecimal digits of a digest that stand in names: 64 bits


def canonical(value: Json) -> bytes:
    """JSON with sorted keys, no spaces and no escapes: one text for one value."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def content_id(value: Json) -> str:
    """The name of a value: the first 16 hexadecimal digits of sha256 of its canonical JSON."""
    return sha256(canonical(value))[:ID_LENGTH]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
