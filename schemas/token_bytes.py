"""How many bytes of text each token id stands for, read from a tokenizer file."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from schemas.seal import Seal


def token_bytes(tokenizer_json: bytes, sealed: Seal) -> NDArray[np.int64]:
    """UTF-8 bytes that each token id stands for, [vocabulary]; 0 for special tokens.

    U+2581 stands for a space, `<0xNN>` for one byte; in a byte-level vocabulary (as GPT-2's) each
    character of a piece stands for one byte.
    """
    content = json.loads(tokenizer_json)
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: [piece, score] in the order of ids
        vocabulary = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    byte_level = '"ByteLevel"' in json.dumps([content.get("pre_tokenizer"), content.get("decoder")])
    sizes = np.zeros(sealed.vocab_size, np.int64)
    for piece, i in vocabulary.items():
        if byte_level:
            sizes[i] = len(piece)
        elif len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            sizes[i] = 1
        else:
            sizes[i] = len(piece.replace("▁", " ").encode())
    for token in content.get("added_tokens") or []:
        sizes[token["id"]] = 0 if token["special"] else len(token["content"].encode())
    sizes[list(sealed.special.ids())] = 0
    return sizes
