"""A file of a store appears whole or not at all; a store that cannot be is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import cli
from schemas.errors import UserError
from schemas.store import open_atomic, write_json


def test_a_file_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    url = str(tmp_path / "deep" / "x.json")
    with pytest.raises(TypeError), open_atomic(url) as file:
        file.writelines([b"half", "and what is no bytes"])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    write_json(url, {"b": 1, "a": "ö"})
    assert Path(url).read_text(encoding="utf-8") == '{"a":"ö","b":1}\n'


def test_a_store_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    store = str(tmp_path / "file" / "store")
    with pytest.raises(UserError, match=r"cannot write .*: Not a directory; free space or fix"):
        write_json(f"{store}/x.json", {})
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)
    assert cli.main(["serve", "--store", store]) == 2
    assert f"cannot make the store {store}: Not a directory" in capfd.readouterr().err
