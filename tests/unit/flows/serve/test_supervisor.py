"""What `mmbert serve` refuses before anything starts, and what it starts again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from flows.serve import service
from flows.serve.service import Service
from flows.serve.supervisor import serve
from schemas.errors import UserError


@pytest.mark.parametrize("auth", ["", "secret", "me:", ":secret"])
@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "elsewhere"])
def test_others_are_not_let_in_without_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, auth: str
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", auth)
    with pytest.raises(UserError, match="PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD"):
        serve(str(tmp_path / "store"), None, host, None)
    assert not (tmp_path / "store").exists()


def test_a_folder_of_recipes_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--recipes nowhere: no such folder"):
        serve(str(tmp_path / "store"), Path("nowhere"), "127.0.0.1", None)
    assert not (tmp_path / "store").exists()


def a_service(folder: Path, script: str) -> Service:
    return Service("thing", [sys.executable, "-c", script], os.environ, folder, grace_s=10)


def wait(thing: Service) -> None:
    assert thing.tied is not None
    thing.tied.process.wait()


def test_what_ends_is_started_again_and_its_log_goes_on(tmp_path: Path) -> None:
    thing = a_service(tmp_path, "print('here'); raise SystemExit(3)")
    thing.start()
    wait(thing)
    assert thing.has_ended()
    assert thing.start_again() == 3
    wait(thing)
    thing.end()
    assert (tmp_path / "thing.log").read_text().split() == ["here", "here"]


def test_what_ends_again_and_again_is_given_up(tmp_path: Path) -> None:
    thing = a_service(tmp_path, "raise SystemExit(3)")
    thing.start()
    for _ in range(service.MOST_ENDS - 1):
        wait(thing)
        thing.start_again()
    wait(thing)
    with pytest.raises(RuntimeError, match=r"the thing ended 5 times in a row; .*thing\.log says"):
        thing.start_again()


def test_ends_that_are_far_apart_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SOON_S", 0.0)
    thing = a_service(tmp_path, "raise SystemExit(3)")
    thing.start()
    for _ in range(service.MOST_ENDS + 1):
        wait(thing)
        thing.start_again()
    thing.end()
