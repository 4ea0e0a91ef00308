"""A program that listens is found on a port of its own, also where another was faster."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows import listener
from flows.listener import LOOPBACK, Listener, free_port
from flows.tether import Tied, tied
from schemas.errors import UserError

LISTEN = """\
import signal, socket, sys
one = socket.socket()
one.bind(("127.0.0.1", int(sys.argv[1])))
one.listen()
signal.pause()
"""


def listening(stack: ExitStack) -> socket.socket:
    taken = stack.enter_context(socket.socket())
    taken.bind((LOOPBACK, 0))
    taken.listen()
    return taken


def program(folder: Path, script: str, port: int) -> Tied:
    with (folder / "log").open("ab") as log:
        return tied([sys.executable, "-c", script, str(port)], 5, log, os.environ)


def test_a_taken_port_means_the_next_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        port = listening(stack).getsockname()[1]
        assert free_port(LOOPBACK, port) > port
        monkeypatch.setattr(listener, "NUM_PORTS", 1)
        with pytest.raises(UserError, match="all taken"):
            free_port(LOOPBACK, port)


@pytest.mark.parametrize("host", ["192.0.2.1", "::1", "nowhere.invalid"])
def test_a_host_that_this_machine_has_not_is_named(host: str) -> None:
    with pytest.raises(UserError, match=f"--host {host} is no IPv4 address or name of this"):
        free_port(host, 42_000)


def test_one_that_was_too_late_is_not_taken_for_the_other_and_starts_on_the_next_port(
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        asked: list[int] = []

        def start(port: int) -> Tied:
            asked.append(port)
            if len(asked) == 1:  # the other one listens before this one does
                faster = stack.enter_context(socket.socket())
                faster.bind((LOOPBACK, port))
                faster.listen()
            return program(tmp_path, LISTEN, port)

        begun = Listener(start, LOOPBACK, 42_000)
        assert not begun.listens()
        first = begun.tied
        assert begun.wait(begun.listens, lambda tick: None)
        try:
            assert len(asked) == 2
            assert begun.port == asked[1] > asked[0]
            assert begun.tied is not first
            assert free_port(LOOPBACK, begun.port) > begun.port
        finally:
            begun.tied.end()


@pytest.mark.parametrize("ends", [1, 2])
def test_one_that_ends_on_a_free_port_is_started_once_more(tmp_path: Path, ends: int) -> None:
    asked: list[int] = []

    def start(port: int) -> Tied:
        asked.append(port)
        return program(tmp_path, LISTEN if len(asked) > ends else "raise SystemExit(1)", port)

    begun = Listener(start, LOOPBACK, 43_000)
    assert begun.wait(begun.listens, lambda tick: None) == (ends < 2)
    begun.tied.end()
    assert len(asked) == 2
