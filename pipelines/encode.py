"""Encoders: text in, ids out. `tokenizers` is the truth; a faster engine may do its work.

    Truth   the `tokenizers` library, which made or read the tokenizer
    Fast    gigatoken (the extra `fast`), where it is installed and can read the tokenizer
    Proving the fast engine, checked against the truth as it goes (pipelines/prove.py)

All give the same ids: no special tokens are added, and text that looks like one is text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

Ids = npt.NDArray[np.uint32]

FAST = "gigatoken"
# What gigatoken remembers of its text grows with it, by 2 MB for each MB of text at first, so it
# is made anew now and then (0.2 s for 32,768 pieces). `tokenizers` stays as large as it is.
REBUILD_CHARACTERS = 100_000_000


class Encoder(Protocol):
    """Texts to their ids, one array a text."""

    @property
    def engine(self) -> str:
        """Its library and version."""
        ...

    def encode(self, texts: Sequence[str]) -> list[Ids]: ...


class Truth:
    """The `tokenizers` library."""

    def __init__(self, tokenizer_json: bytes) -> None:
        self._tokenizer = as_text(tokenizer_json)

    @property
    def engine(self) -> str:
        return f"tokenizers {version('tokenizers')}"

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]


class Fast:
    """gigatoken on the calling thread; raises for a tokenizer that it cannot read."""

    def __init__(self, tokenizer_json: bytes) -> None:
        content = json.loads(tokenizer_json)
        # Special tokens are not looked for in text; other added tokens are.
        content["added_tokens"] = [t for t in content["added_tokens"] if not t["special"]]
        content["post_processor"] = None
        self._json = json.dumps(content).encode()
        self._make()

    def _make(self) -> None:
        from gigatoken import Tokenizer as Gigatoken

        self._tokenizer, self._left = Gigatoken.from_json(self._json), REBUILD_CHARACTERS

    @property
    def engine(self) -> str:
        return f"{FAST} {version(FAST)}"

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        if self._left < 0:
            self._make()
        self._left -= sum(map(len, texts))
        return [self._tokenizer.encode(text) for text in texts]


def find_fast(tokenizer_json: bytes) -> Fast | None:
    """The fast engine, or None where it is not installed or cannot read this tokenizer."""
    try:
        version(FAST)
    except PackageNotFoundError:
        return None
    try:
        return Fast(tokenizer_json)
    except (RuntimeError, ValueError, KeyError, ImportError):
        return None


def as_text(tokenizer_json: bytes) -> Tokenizer:
    """A tokenizer set to encode all of a text, and what looks like a special token as text."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # processes scale better
    tokenizer = Tokenizer.from_str(tokenizer_json.decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer
