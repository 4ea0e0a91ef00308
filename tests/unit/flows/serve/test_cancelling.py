"""A cancelled run sends itself a SIGTERM, unless somebody else has, however late that is read."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from flows.serve import cancelling

TERM = bytes([signal.SIGTERM])
OTHER = bytes([signal.SIGCHLD])


class Watched:
    """`_watch` in a thread; `answers` are what the server says, the last one for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: list[bool]) -> None:
        self.killed = threading.Event()
        self.ended = threading.Event()
        self.asked = 0
        self.while_asked: Callable[[], object] = bool
        self.hears, self.heard = socket.socketpair()
        monkeypatch.setattr(cancelling, "POLL_S", 0.01)
        monkeypatch.setattr(cancelling, "PATIENCE_S", 0.05)
        monkeypatch.setattr(cancelling, "_is_cancelled", self._is_cancelled)
        monkeypatch.setattr(os, "kill", lambda pid, sign: self.killed.set())
        self._answers = answers
        self._watch = threading.Thread(
            target=cancelling._watch, args=(uuid4(), self.hears, self.ended), daemon=True
        )

    def _is_cancelled(self, run: object) -> bool:
        self.asked += 1
        self.while_asked()
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def start(self) -> None:
        self._watch.start()

    def finish(self) -> None:
        self.heard.close()
        self._watch.join(60)
        assert not self._watch.is_alive()
        assert self.hears.fileno() == -1


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Watched]:
    found = Watched(monkeypatch, request.param)
    yield found
    found.finish()
    assert found.ended.is_set() == found.killed.is_set()


@pytest.mark.parametrize("watched", [[False, True, False, True]], indirect=True)
def test_who_is_cancelled_for_long_enough_ends_itself(watched: Watched) -> None:
    watched.start()
    assert watched.killed.wait(60)
    assert watched.asked > 4  # a state that goes back begins anew


@pytest.mark.parametrize("watched", [[True]], indirect=True)
def test_a_signal_that_came_while_the_server_was_asked_is_not_doubled(watched: Watched) -> None:
    told = threading.Event()

    def tell() -> None:
        if watched.asked == 2:
            threading.Event().wait(0.1)  # longer than the patience
            watched.heard.send(OTHER + TERM)
            told.set()

    watched.while_asked = tell
    watched.start()
    assert told.wait(60)
    watched.finish()
    assert not watched.killed.is_set()


@pytest.mark.parametrize("watched", [[False]], indirect=True)
def test_who_is_not_cancelled_goes_on_until_its_end(watched: Watched) -> None:
    enough = threading.Event()
    watched.while_asked = lambda: watched.asked > 10 and enough.set()
    watched.start()
    assert enough.wait(60)
    assert not watched.killed.is_set()
