"""Work that goes on beside a consumer, item by item, in daemon threads.

The threads live while there are items; they begin them in order. After an error the rest is
dropped; `check` and `finish` raise it in whoever asks.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Calls `work` for each item, `at_once` of them; `niceness` is that of its threads, where a
    system can.

    Work should keep the interpreter's lock for moments only: a nice thread that holds it while
    others use the core delays them all.
    """

    def __init__(
        self, name: str, work: Callable[[T], None], niceness: int = 0, at_once: int = 1
    ) -> None:
        self._name, self._work, self._niceness, self._at_once = name, work, niceness, at_once
        self._items: deque[T] = deque()
        self._threads: set[threading.Thread] = set()
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def put(self, items: Iterable[T], instead: bool = False) -> None:
        """Further items, or other ones in place of all that are left; an earlier error raises."""
        self.check()
        with self._lock:
            if instead:
                self._items.clear()
            self._items.extend(items)
            for _ in range(min(self._at_once - len(self._threads), len(self._items))):
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._threads.add(thread)
                thread.start()

    def check(self) -> None:
        """Raise the error that work ended with, if it did."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Wait until nothing is left; raises as `check`."""
        for thread in list(self._threads):
            thread.join()
        self.check()

    def _run(self) -> None:
        if self._niceness:
            with suppress(OSError, AttributeError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        while True:
            with self._lock:
                if not self._items:
                    self._threads.discard(threading.current_thread())
                    return
                item = self._items.popleft()
            try:
                self._work(item)
            except BaseException as error:
                with self._lock:
                    self._error = error
                    self._items.clear()
