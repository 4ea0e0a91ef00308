"""Beyond this machine the viewer asks for user and password, and without one it stays here."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from flows.viewer.__main__ import main
from flows.viewer.app import create_app
from flows.viewer.auth import AUTH_STRING, is_loopback


def client(folder: Path, host: str = "127.0.0.1") -> TestClient:
    return TestClient(create_app(str(folder)), base_url=f"http://{host}:4300")


def test_a_password_is_asked_for_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(AUTH_STRING, "admin:pässword")
    viewer = client(tmp_path, "store.example")
    for url in ("/", "/files/", "/style.css", "/no/such"):
        assert viewer.get(url).status_code == 401
        assert viewer.get(url).headers["www-authenticate"].startswith("Basic ")
        assert viewer.get(url, auth=("admin", "password")).status_code == 401
    for wrong in ("Basic", "Basic !!!", "Bearer admin:pässword", "Basic YWRtaW4="):
        answer = viewer.get("/", headers={"authorization": wrong.encode()})
        assert answer.status_code == 401
    assert viewer.get("/", auth=("admin", "pässword")).status_code == 200
    assert viewer.get("/health").status_code == 200


def test_without_a_password_only_loopback_names_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(AUTH_STRING, raising=False)
    assert client(tmp_path).get("/").status_code == 200
    assert client(tmp_path, "localhost").get("/").status_code == 200
    assert client(tmp_path, "[::1]").get("/").status_code == 200
    assert client(tmp_path, "evil.example").get("/").status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "store.example"])
def test_an_open_address_needs_a_password(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: str,
) -> None:
    monkeypatch.delenv(AUTH_STRING, raising=False)
    assert main([str(tmp_path), "--host", host]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert AUTH_STRING in told


def test_what_is_loopback() -> None:
    loopback = ("127.0.0.1", "127.0.0.2:80", "localhost", "LOCALHOST:4300", "::1", "[::1]:4300")
    assert all(map(is_loopback, loopback))
    others = ("", "0.0.0.0", "localhost.example", "127.0.0.1.example", "[::]", "10.0.0.1:80")
    assert not any(map(is_loopback, others))
