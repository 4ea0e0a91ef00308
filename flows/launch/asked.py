"""What the launchers of schedulers share: whether they were asked to end, and how they refuse."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType


class Asked:
    """SIGTERM and SIGINT of this process, from here on."""

    def __init__(self) -> None:
        self._event = threading.Event()
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._event.set()

    @property
    def to_end(self) -> bool:
        return self._event.is_set()

    def within(self, seconds: float) -> bool:
        """Wait until asked, so long at most."""
        return self._event.wait(seconds)


def refuse(sentence: str) -> int:
    """Say what is wrong with the input; returns the status of that."""
    print(f"mmbert: {sentence}", file=sys.stderr, flush=True)
    return 2
