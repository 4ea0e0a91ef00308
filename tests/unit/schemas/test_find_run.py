"""A run is found by its folder, its file, its name or the start of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import UserError
from schemas.find_run import find_run
from schemas.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for name in ("tiny-0a", "tiny-0b", "tiny", "other-1"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").touch()
    return Store.at(str(tmp_path))


def test_every_way_to_say_which(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(store.url, "runs", "other-1")
    for said in (str(folder), str(folder / "run.json"), "other-1", "oth"):
        assert find_run(store, said) == folder / "run.json"
    assert find_run(store, "tiny").parent.name == "tiny"  # though others begin with it
    monkeypatch.chdir(folder.parent)
    assert find_run(Store.at("nowhere"), "other-1") == folder / "run.json"


def test_none_or_several_are_told_in_one_sentence(store: Store) -> None:
    with pytest.raises(UserError, match="tiny- begins several runs: tiny-0a, tiny-0b; give more"):
        find_run(store, "tiny-")
    with pytest.raises(UserError, match=r"has no run x; .*there are: other-1, tiny, tiny-0a"):
        find_run(store, "x")
    for nothing in ("", " "):
        with pytest.raises(UserError, match=r"has no run \(empty\); .*there are: other-1, tiny"):
            find_run(store, nothing)
    with pytest.raises(UserError, match=r"memory://s is not on a disk .* with --store"):
        find_run(Store.at("memory://s"), "x")
