"""What a page was given stays as it was, whatever becomes of the store meanwhile."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from flows.viewer import shelf
from flows.viewer.shelf import TRIES, Shelf
from schemas.store import Store
from tests.runs import make_run, phase_settings


def _step(step: int) -> str:
    told = {"kind": "step", "phase": "only", "step": step, "tokens": 100 * step, "loss": 3.0}
    return json.dumps(told | {"lr": 1e-3}) + "\n"


def test_a_page_that_is_being_drawn_does_not_see_the_log_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "SHARE_OF_TIME", 0)  # each view is a look of its own
    log = Path(make_run(tmp_path, {"only": phase_settings()})).with_name("log.jsonl")
    log.write_text(_step(1))
    looked_at = Shelf(Store.at(str(tmp_path)))
    before = looked_at.view().runs[0].story
    with log.open("a") as file:
        file.write(_step(2))
    after = looked_at.view().runs[0].story
    assert before is not None
    assert after is not None
    assert [story.loss["only"].x for story in (before, after)] == [[100], [100, 200]]


def test_a_run_on_this_machine_trains_while_a_trainer_holds_it(tmp_path: Path) -> None:
    folder = Path(make_run(tmp_path, {"only": phase_settings()})).parent
    (folder / "log.jsonl").write_text(_step(1))
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Shelf(Store.at(str(tmp_path))).view().runs[0].state == "training"
    assert Shelf(Store.at(str(tmp_path))).view().runs[0].state == "unfinished"


def test_a_run_elsewhere_trains_while_its_log_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "local_path", lambda url: None)
    log = Path(make_run(tmp_path, {"only": phase_settings()})).with_name("log.jsonl")
    log.write_text(_step(1))
    assert Shelf(Store.at(str(tmp_path))).view().runs[0].state == "training"
    os.utime(log, (1, 1))
    assert Shelf(Store.at(str(tmp_path))).view().runs[0].state == "unfinished"


def test_what_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def goes(store: Store) -> dict[str, shelf.Files]:
        looks.append(store.url)
        if store.url.endswith("/runs"):
            raise FileNotFoundError(store.url)
        return {}

    monkeypatch.setattr(shelf, "list_files", goes)
    view = Shelf(Store.at(str(tmp_path))).view()
    assert list(view.broken) == [f"{tmp_path}/runs"]
    assert looks.count(f"{tmp_path}/runs") == TRIES


def test_a_record_that_may_not_be_read_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(make_run(tmp_path, {"only": phase_settings()})).parent
    shutil.copytree(folder, folder.with_name("theirs"))
    read = LocalFileSystem.cat_file

    def refused(self: LocalFileSystem, path: str, *args: object, **kwargs: object) -> bytes:
        if "/theirs/" in path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return read(self, path, *args, **kwargs)

    monkeypatch.setattr(shelf, "SHARE_OF_TIME", 0)
    monkeypatch.setattr(LocalFileSystem, "cat_file", refused)
    looked_at = Shelf(Store.at(str(tmp_path)))
    view = looked_at.view()
    assert [run.name for run in view.runs] == [folder.name]
    theirs = f"{folder.with_name('theirs')}/run.json"
    assert view.broken == {theirs: "cannot be read: Permission denied"}
    monkeypatch.undo()
    assert len(looked_at.view().runs) == 2
