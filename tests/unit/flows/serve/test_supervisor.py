"""What `mmbert serve` refuses before anything starts, and what it starts again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from flows.serve import service
from flows.serve.service import Service
from flows.serve.supervisor import (
    FIRST_PORTS,
    PORTS,
    finished_runs,
    note_port,
    port_before,
    serve,
)
from flows.server import environment
from schemas.errors import UserError
from schemas.store import Store


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


def test_a_run_of_another_version_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_json = tmp_path / "runs" / "old-1" / "run.json"
    run_json.parent.mkdir(parents=True)
    run_json.write_text('{"format_version": 0}')
    assert finished_runs(Store.at(str(tmp_path))) == []
    assert f"unreadable  {run_json}" in capsys.readouterr().out


def test_no_page_of_the_web_may_ask_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
    own = environment(tmp_path, "127.0.0.1", 4321)[origins]
    assert own.split(",") == ["http://127.0.0.1:4321", "http://localhost:4321"]
    monkeypatch.setenv(origins, "https://mine.example")
    assert environment(tmp_path, "0.0.0.0", 4321)[origins] == "https://mine.example"


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"server": 4207}', '{"viewer": "no"}'])
def test_a_service_has_the_port_that_it_had_before(tmp_path: Path, damaged: str) -> None:
    first = FIRST_PORTS["viewer"]
    assert port_before(tmp_path, "viewer") == first
    note_port(tmp_path, "server", 4207)
    note_port(tmp_path, "viewer", 4302)
    assert port_before(tmp_path, "server") == 4207
    assert port_before(tmp_path, "viewer") == 4302
    (tmp_path / PORTS).write_text(damaged)
    assert port_before(tmp_path, "viewer") == first
    note_port(tmp_path, "viewer", 4303)
    assert port_before(tmp_path, "viewer") == 4303


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
