"""Artifacts link to the store that the viewer shows, and name the place of what lies in another."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import markdown
from flows.viewer.links import VIEWER_STORE, VIEWER_URL, link, link_difference
from schemas.store import Store

VIEWER = "http://127.0.0.1:4300"


def test_another_store_has_no_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shown").mkdir()
    (tmp_path / "same").symlink_to(tmp_path / "shown")
    monkeypatch.setenv(VIEWER_URL, VIEWER)
    monkeypatch.setenv(VIEWER_STORE, str(tmp_path / "shown"))
    for name in ("shown", "same"):
        store = Store.at(str(tmp_path / name))
        assert link(store, store.resolve("runs/r/run.json")) == f"{VIEWER}/runs/r"
    for other in (Store.at(str(tmp_path / "other")), Store("s3://bucket/shown")):
        run = other.resolve("runs/r/run.json")
        mixtures = [other.resolve(f"manifests/r/p/{'0' * 15}{i}/manifest.json") for i in (1, 2)]
        assert link(other, run) == run
        assert link_difference(other, *mixtures) == mixtures[1]
        assert markdown.to(other, run, "run") == f"run: `{run}`"
        assert markdown.links(other, ["one", "two"]) == "- one\n- two"
