"""Addresses that name no file of a store are answered as such, however strange they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.viewer.files import byte_range, find
from schemas.store import Store


@pytest.mark.parametrize("path", ["file/x", "file/x/y", "n" * 300, "none"])
def test_what_no_disk_could_hold_is_not_there(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    store = Store.at(str(tmp_path))
    assert find(store, "file") is not None
    assert find(store, path) is None


def test_a_range_of_bytes() -> None:
    assert byte_range("bytes=2-5", 10) == (2, 5)
    assert byte_range("bytes=-3", 10) == (7, 9)
    assert byte_range("bytes=10-", 10) is None
    for told in (f"bytes={'9' * 5000}-", f"bytes=0-{'9' * 5000}", "lines=1-2"):
        assert byte_range(told, 10) == (0, 9)
