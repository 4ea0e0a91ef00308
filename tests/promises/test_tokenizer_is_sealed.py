"""I10: another vocabulary, merge or special id is refused, naming both digests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer

from pipelines.tokenizer import from_sentencepiece, load
from schemas import seal as seals
from schemas.errors import UserError
from schemas.seal import SpecialIds
from tests import corpora
from tests.building import build_store

MODEL = {
    "vocab": {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "ab": 7},
    "merges": [["a", "b"]],
}


def tokenizer_json(**changes: object) -> bytes:
    return json.dumps({"model": MODEL | changes, "added_tokens": [], "padding": None}).encode()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (
            "vocabulary",
            seals.seal(tokenizer_json(vocab=MODEL["vocab"] | {"c": 8}), SpecialIds(), ""),
        ),
        ("merges", seals.seal(tokenizer_json(merges=[["b", "a"]]), SpecialIds(), "")),
        ("special ids", seals.seal(tokenizer_json(), SpecialIds(mask=7), "")),
    ],
)
def test_each_change_gives_another_digest(name: str, other: seals.Seal) -> None:
    one = seals.seal(tokenizer_json(), SpecialIds(), "")
    with pytest.raises(UserError, match=f"{other.digest[:16]}.*{one.digest[:16]}"):
        seals.require_same(other.digest, one.digest, "a manifest")


SPECIAL = [{"id": i, "special": True} for i in range(5)]


@pytest.mark.parametrize(
    ("added", "special", "told"),
    [
        ([], SpecialIds(), "tokenizer.special.pad = 0 is not a special token of its own"),
        (SPECIAL, SpecialIds(mask=7), "tokenizer.special.mask = 7"),
        (SPECIAL, SpecialIds(bos=1), "tokenizer.special.eos = 1"),
        ([*SPECIAL[:4], {"id": 4, "special": False}], SpecialIds(), "tokenizer.special.mask = 4"),
        (SPECIAL, SpecialIds(unk=99), "tokenizer.special.unk = 99 is not in the vocabulary"),
    ],
)
def test_special_ids_must_be_special_tokens(
    added: list[object], special: SpecialIds, told: str
) -> None:
    data = json.dumps({"model": MODEL, "added_tokens": added}).encode()
    with pytest.raises(UserError, match=f"^here: {told}"):
        seals.require_special(data, special, "here")


def test_an_unknown_token_may_be_any(tmp_path: Path) -> None:
    data = json.dumps({"model": MODEL, "added_tokens": SPECIAL}).encode()
    for unk in (3, 0, 5):
        seals.require_special(data, SpecialIds(unk=unk), "here")


def test_the_vocabulary_ends_after_its_largest_id() -> None:
    assert seals.seal(tokenizer_json(vocab={"a": 5, "b": 9}), SpecialIds(), "").vocab_size == 10
    assert seals.seal(tokenizer_json(vocab=[["a", 0.0]] * 8), SpecialIds(), "").vocab_size == 8


def test_padding_and_origin_are_no_part_of_it() -> None:
    padded = json.loads(tokenizer_json()) | {"padding": {"strategy": "BatchLongest"}}
    one = seals.seal(tokenizer_json(), SpecialIds(), "here")
    assert seals.seal(json.dumps(padded).encode(), SpecialIds(), "there").digest == one.digest


def test_a_tampered_tokenizer_in_the_store_is_refused(tmp_path: Path) -> None:
    folder = seals.save(str(tmp_path), seals.seal(tokenizer_json(), SpecialIds(), ""), b"")
    (Path(folder) / "tokenizer.json").write_bytes(tokenizer_json(merges=[]))
    with pytest.raises(UserError, match="made with tokenizer"):
        seals.load(folder)


def test_text_that_looks_like_a_special_token_stays_text(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30})
    built = build_store(corpora.recipe(root), tmp_path / "store")
    tokenizer = load(built.store, built.seal)
    text = "kalomi <mask> <bos> <pad> neru"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert not set(ids) & set(SpecialIds().ids())
    assert tokenizer.decode(ids) == text


def test_ids_equal_those_of_sentencepiece(tmp_path: Path) -> None:
    texts = [*corpora.sentences("fao", 200), "Ünïcödé 你好 12345  double  spaces \t tab\nline"]
    prefix = str(tmp_path / "spm")
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(texts),
        model_prefix=prefix,
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        control_symbols=["<mask>"],
        minloglevel=2,
    )
    model = Path(f"{prefix}.model").read_bytes()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    tokenizer: Tokenizer = from_sentencepiece(model, SpecialIds())
    for text in [*texts, *corpora.sentences("unseen", 100)]:
        assert tokenizer.encode(text, add_special_tokens=False).ids == processor.encode(text)


def test_a_tokenizer_that_differs_only_in_its_prefix_space_is_refused(tmp_path: Path) -> None:
    plain = json.loads(tokenizer_json())
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "split": False}
    prepend = {"type": "Prepend", "prepend": "\u2581"}
    without = [
        plain | {"normalizer": replace},
        plain | {"pre_tokenizer": metaspace | {"prepend_scheme": "never"}},
        plain | {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}},
    ]
    with_it = [
        plain | {"normalizer": {"type": "Sequence", "normalizers": [prepend, replace]}},
        plain | {"pre_tokenizer": metaspace | {"prepend_scheme": "first"}},
        plain | {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
    ]
    for one, other in zip(without, with_it, strict=True):
        sealed = seals.seal(json.dumps(one).encode(), SpecialIds(), "")
        folder = Path(seals.save(str(tmp_path), sealed, json.dumps(one).encode()))
        changed = seals.seal(json.dumps(other).encode(), SpecialIds(), "")
        assert (sealed.prefix_space, changed.prefix_space) == (False, True)
        (folder / "tokenizer.json").write_bytes(json.dumps(other).encode())
        with pytest.raises(UserError, match=f"{changed.digest[:16]}.*{sealed.digest[:16]}"):
            seals.load(str(folder))
