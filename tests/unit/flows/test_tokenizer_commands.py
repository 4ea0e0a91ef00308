"""`mmbert tokenizer check` on a small model, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli import main
from tests import corpora, pieces


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.model"
    path.write_bytes(pieces.train(corpora.sentences("fao", 200)))
    corpora.write_fineweb2(tmp_path / "text", "fao_Latn", corpora.sentences("fao", 5))
    return path


def test_it_shows_engines_and_languages(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = str(model.parent / "text")
    assert main(["tokenizer", "check", str(model), "--text", text]) == 0
    shown = capsys.readouterr().out
    assert "sentencepiece" in shown
    assert "Faroese fao_Latn" in shown


def test_it_prints_one_json_object(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = str(model.parent / "text")
    assert main(["tokenizer", "check", str(model), str(model), "--text", text, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["tokenizer"] for one in told["tokenizers"]] == [str(model)] * 2
    assert told["tokenizers"][0]["languages"][0]["language"] == "fao_Latn"
    assert all(engine["equal"] for engine in told["tokenizers"][0]["engines"].values())
