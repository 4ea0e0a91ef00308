"""Run an iterator ahead of its consumer in one thread.

The consumer sees the same items and the same exception; closing it (or losing it) stops the
thread after the item at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def prefetch(items: Iterator[T], depth: int) -> Iterator[T]:
    """`items`, up to `depth` of them made before they are asked for; starts at the first `next`."""
    stopped = Event()
    made: SimpleQueue[T | _End] = SimpleQueue()
    room: SimpleQueue[bool] = SimpleQueue()  # one for each item that may be made; False is the end
    for _ in range(depth):
        room.put(True)

    def produce() -> None:
        end = _End()
        try:
            while room.get() and not stopped.is_set():
                item = next(items, end)
                if isinstance(item, _End):
                    break
                made.put(item)
                del item  # its memory serves the next once the consumer lets go
        except BaseException as error:  # raised again in the consumer
            end = _End(error)
        made.put(end)

    thread = Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := made.get(), _End):
            room.put(True)
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        room.put(False)
        thread.join()
