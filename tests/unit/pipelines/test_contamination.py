"""The rule of contamination: what is compared, what is looked for, in any script."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contamination import Pieces, hashes, normalise
from pipelines.evaluation_texts import find_files, texts_of
from schemas.errors import UserError

ENGLISH = "The committee will meet again on the second Tuesday of the coming month."
HINDI = "समिति अगले महीने के दूसरे मंगलवार को फिर से बैठक करेगी और रिपोर्ट प्रस्तुत करेगी।"
JAPANESE = "委員会は来月の第二火曜日に再び会合を開く予定である。"


def holds(document: str, *texts: str) -> bool:
    return Pieces.of(iter(texts)).stand_in(normalise(document))


@pytest.mark.parametrize("text", [ENGLISH, HINDI, JAPANESE])
def test_a_text_is_found_in_any_script_whatever_its_layout(text: str) -> None:
    assert holds(f"before {text} after", text)
    assert holds("x\n".join(["", text.upper().replace(" ", "\u3000")]), text)
    assert not holds(text[: len(text) // 4], text)


def test_a_long_piece_of_a_long_text_is_enough() -> None:
    text = " ".join(f"word{number}" for number in range(200))
    letters = normalise(text)
    assert holds(letters[333 : 333 + 99], text)
    assert not holds(letters[333 : 333 + 49], text)


def test_short_texts_are_not_looked_for() -> None:
    assert not holds("I am not a student.", "I am not a student.")
    assert not Pieces.of(iter(["sports", "", "..."])).seeds


@given(st.text(max_size=60), st.sampled_from([1, 3, 10, 25]))
def test_hashes_are_those_of_the_windows_alone(text: str, width: int) -> None:
    found = hashes(text, width)
    assert found.size == max(0, len(text) - width + 1)
    alone = [hashes(text[i : i + width], width) for i in range(found.size)]
    assert not alone or np.array_equal(found, np.concatenate(alone))


def test_evaluation_files_of_all_kinds_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b'id\tx\n1\t"a quoted text\n'))
    (tmp_path / "b.jsonl").write_text(json.dumps({"q": ["one", {"a": "two", "n": 3}]}) + "\n\n")
    (tmp_path / "c.csv").write_text('"three, four",five\n')
    (tmp_path / "d.txt").write_text("six\nseven\n")
    pq.write_table(pa.table({"text": ["eight", None], "n": [1, 2]}), tmp_path / "e.parquet")
    files = find_files([str(tmp_path / "*")], "key")
    told = {url.rsplit("/", 1)[1]: list(texts_of(url, data)) for url, data in files.items()}
    assert told == {
        "a.tsv.gz": ["id", "x", "1", '"a quoted text'],
        "b.jsonl": ["one", "two"],
        "c.csv": ["three, four", "five"],
        "d.txt": ["six", "seven"],
        "e.parquet": ["eight"],
    }
    with pytest.raises(UserError, match=r"bad\.json cannot be read"):
        list(texts_of("x/bad.json", b"{"))
    with pytest.raises(UserError, match=r"key: .* names no file"):
        find_files([str(tmp_path / "*.none")], "key")
