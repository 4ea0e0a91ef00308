"""Small SentencePiece models, for tests of tokenizers."""

from __future__ import annotations

import io
from collections.abc import Sequence

import sentencepiece


def train(texts: Sequence[str], prefix_space: bool = False, vocab_size: int = 600) -> bytes:
    """The bytes of a BPE model with byte fallback in mmBERT's layout of special ids."""
    sink = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(texts),
        model_writer=sink,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        add_dummy_prefix=prefix_space,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        control_symbols=["<mask>"],
        minloglevel=2,
    )
    return sink.getvalue()
