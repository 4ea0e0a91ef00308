"""A small file of a remote store is read in spite of a network that fails now and then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import remote
from schemas.errors import UserError
from schemas.store import exists, read_bytes
from tests.servers import Fault, Faulty

BODY = b'{"kind": "manifest"}' * 50


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(remote, "LONGEST_WAIT_S", 0.002)
    (tmp_path / "manifest.json").write_bytes(BODY)
    with Faulty(tmp_path) as server:
        yield server


@pytest.mark.parametrize("fault", [Fault("unavailable"), Fault("cut", 100), Fault("reset")])
def test_a_read_that_fails_is_tried_again(server: Faulty, fault: Fault) -> None:
    server.faults = [fault] * 3
    assert read_bytes(f"{server.url}/manifest.json") == BODY
    assert server.failed == 3


def test_what_a_server_does_not_say_is_not_taken_for_absence(server: Faulty) -> None:
    server.down = True
    with pytest.raises(UserError, match=r"could not be read in 8 tries .*; the same command goes"):
        exists(f"{server.url}/manifest.json")
    server.down = False
    assert exists(f"{server.url}/manifest.json")
    assert not exists(f"{server.url}/other.json")
    with pytest.raises(FileNotFoundError):
        read_bytes(f"{server.url}/other.json")
