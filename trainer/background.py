"""Work that goes on beside a consumer, item by item, in one daemon thread.

The thread lives while there are items. After an error the rest is dropped; `check` and `finish`
raise it in whoever asks.
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
    """Calls `work` for each item, in order; `niceness` is that of its thread, where a system can.

    Work should keep the interpreter's lock for moments only: a nice thread that holds it while
    others use the core delays them all.
    """

    def __init__(self, name: str, work: Callable[[T], None], niceness: int = 0):
        self._name, self._work, self._niceness = name, work, niceness
        self._items: deque[T] = deque()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def put(self, items: Iterable[T], instead: bool = False) -> None:
        """Further items, or other ones in place of all that are left; an earlier error raises."""
        self.check()
        with self._lock:
            if instead:
                self._items.clear()
            self._items.extend(items)
            if self._items and self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def check(self) -> None:
        """Raise the error that work ended with, if it did."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Wait until nothing is left; raises as `check`."""
        thread = self._thread
        if thread is not None:
            thread.join()
        self.check()

    def _run(self) -> None:
        if self._niceness:
            with suppress(OSError, AttributeError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        while True:
            with self._lock:
                if not self._items:
                    self._thread = None
                    return
                item = self._items.popleft()
            try:
                self._work(item)
            except BaseException as error:
                with self._lock:
                    self._error = error
                    self._items.clear()
