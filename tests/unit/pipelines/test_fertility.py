"""`tokenizer check` finds the first difference, and counts what a language costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipelines import fertility
from pipelines.encode import Ids, Truth
from pipelines.fertility import check
from pipelines.texts import Text, texts_of
from pipelines.tokenizer import from_sentencepiece
from schemas.errors import UserError
from schemas.seal import SpecialIds
from tests import corpora, pieces

FAROESE = [Text("fao_Latn", f"here, {i}", t) for i, t in enumerate(corpora.sentences("fao", 20))]
CHINESE = [Text("cmn_Hani", "there, 1", "你好你好")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.model"
    path.write_bytes(pieces.train(corpora.sentences("fao", 200)))
    return path


def test_every_engine_agrees_on_a_model_of_ours(model: Path) -> None:
    checked = check(str(model), [*FAROESE, *CHINESE])
    assert checked.num_texts == 21
    assert [name.split()[0] for name in checked.engines][:1] == ["sentencepiece"]
    assert not any(checked.engines.values())


def test_what_no_piece_covers_costs_bytes(model: Path) -> None:
    checked = check(str(model), [*FAROESE, *CHINESE])
    chinese = checked.languages["cmn_Hani"].public()
    assert chinese["byte_fallback"] == 1.0
    assert chinese["tokens_a_character"] == 3.0
    assert chinese["bytes_a_token"] == 1.0
    assert chinese["tokens_a_word"] is None  # it writes none
    faroese = checked.languages["fao_Latn"].public()
    assert faroese["byte_fallback"] < 0.01  # a digit that no piece has
    assert faroese["tokens"] == sum(
        ids.size for ids in Truth(_json(model)).encode([text.text for text in FAROESE])
    )
    assert checked.total().tokens == faroese["tokens"] + chinese["tokens"]  # type: ignore[operator]


def test_words_are_runs_of_letters_marks_and_digits(model: Path) -> None:
    checked = check(str(model), [Text("hin_Deva", "", "नमस्ते दुनिया, 42!")])
    assert checked.languages["hin_Deva"].words == 3


def test_the_dearest_language_comes_first(model: Path) -> None:
    dear = Text("isl_Latn", "", "þðæ öðþ ðæþ öþð")
    assert [one.language for one in check(str(model), [*FAROESE, dear, *CHINESE]).worst_first] == [
        "isl_Latn",
        "fao_Latn",
        "cmn_Hani",
    ]


def test_the_first_difference_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Erring:
        engine = "erring 1.0"

        def __init__(self, data: bytes) -> None:
            self.truth = Truth(data)

        def encode(self, texts: Sequence[str]) -> list[Ids]:
            ids = self.truth.encode(texts)
            wrong = [" 7." in text for text in texts]
            return [
                np.append(i[:3], i[3:] + 1) if w else i for w, i in zip(wrong, ids, strict=True)
            ]

    monkeypatch.setattr(fertility, "find_fast", Erring)
    difference = check(str(model), FAROESE).engines["erring 1.0"]
    assert difference is not None
    assert (difference.language, difference.place, difference.token) == ("fao_Latn", "here, 7", 3)
    assert difference.ids == tuple(i + 1 for i in difference.true_ids)


@pytest.mark.parametrize("content", [b"{}", b"not json", b'{"model": {"vocab": {}}}'])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(UserError, match="there is no tokenizer"):
        check(str(path), FAROESE)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"no file that the `tokenizers` library wrote"):
        check(str(tmp_path), FAROESE)


def test_texts_are_found_in_files_and_folders_with_their_language(tmp_path: Path) -> None:
    corpora.write_fineweb2(tmp_path, "fao_Latn", ["one text"])
    (tmp_path / "isl_Latn.txt").write_text("first\n\nsecond\n", encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "a row"}) + "\n", encoding="utf-8")
    found = [(text.language, text.text) for text in texts_of([tmp_path])]
    assert found == [
        ("fao_Latn", "one text"),
        ("isl_Latn", "first"),
        ("isl_Latn", "second"),
        ("unlabelled", "a row"),
    ]
    with pytest.raises(UserError, match="there is no text"):
        list(texts_of([tmp_path / "nowhere"]))


def _json(model: Path) -> bytes:
    return from_sentencepiece(model.read_bytes(), SpecialIds()).to_str().encode()
