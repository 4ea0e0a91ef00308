"""Engines give the ids of the truth, for tokenizers with and without a prefix space."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines import encode
from pipelines.encode import Fast, Truth, find_fast
from pipelines.tokenizer import from_sentencepiece
from schemas.seal import SpecialIds
from tests import corpora, pieces

TEXTS = [
    *corpora.sentences("fao", 40),
    "kalomi <mask> <bos> <pad> <unk>",
    "\u2581a \u2581\u2581b  double   spaces \t tab\n\n line ",
    "Ünïcödé 你好 नमस्ते e\u0301 \u2028 \x00 <0x41>",
    " ",
    "",
]


@pytest.fixture(scope="module", params=[False, True], ids=["no prefix", "prefix"])
def tokenizer_json(request: pytest.FixtureRequest) -> bytes:
    model = pieces.train(corpora.sentences("fao", 200), prefix_space=request.param)
    return from_sentencepiece(model, SpecialIds()).to_str().encode()


def test_the_fast_engine_gives_the_true_ids(tokenizer_json: bytes) -> None:
    pytest.importorskip("gigatoken")
    fast = find_fast(tokenizer_json)
    assert fast is not None
    for found, true in zip(fast.encode(TEXTS), Truth(tokenizer_json).encode(TEXTS), strict=True):
        assert found.dtype == np.uint32
        assert found.tolist() == true.tolist()


@pytest.mark.parametrize("engine", [Truth, Fast])
def test_what_looks_like_a_special_token_is_text(
    engine: type[Truth] | type[Fast], tokenizer_json: bytes
) -> None:
    if engine is Fast:
        pytest.importorskip("gigatoken")
    (ids,) = engine(tokenizer_json).encode(["kalomi <mask> <bos> <eos> <pad> <unk>"])
    assert not set(ids.tolist()) & set(SpecialIds().ids())


def test_an_engine_made_anew_gives_the_same_ids(
    tokenizer_json: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gigatoken")
    monkeypatch.setattr(encode, "REBUILD_CHARACTERS", 100)
    fast, made = Fast(tokenizer_json), []
    for text in TEXTS:
        made.append(fast._tokenizer)
        assert fast.encode([text])[0].tolist() == Truth(tokenizer_json).encode([text])[0].tolist()
    assert len({id(engine) for engine in made}) > 2


def test_without_the_extra_there_is_no_fast_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "FAST", "a-package-that-is-not-installed")
    assert find_fast(b"{}") is None


def test_a_tokenizer_that_the_fast_engine_cannot_read_is_left_to_the_truth(
    tokenizer_json: bytes, tmp_path: Path
) -> None:
    pytest.importorskip("gigatoken")
    content = json.loads(tokenizer_json)
    content["model"] = {"type": "WordLevel", "vocab": {"a": 0, "<unk>": 3}, "unk_token": "<unk>"}
    assert find_fast(json.dumps(content).encode()) is None
