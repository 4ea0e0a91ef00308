"""Run an iterator ahead of its consumer in one thread.

The consumer sees the same items and the same exception; closing it (or losing it) stops the
thread after the item at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def prefetch(items: Iterator[T], depth: int) -> Iterator[T]:
    """`items`, up to `depth` of them made before they are asked for; starts at the first `next`."""
    queue: Queue[T | _End] = Queue(depth)
    stopped = Event()

    def produce() -> None:
        end: _End = _End()
        try:
            for item in items:
                queue.put(item)
                if stopped.is_set():
                    return
        except BaseException as error:  # raised again in the consumer
            end = _End(error)
        queue.put(end)

    thread = Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        # Room for whatever the thread is about to put, so that it comes to its end. It puts one
        # item or the end, then leaves: see produce.
        while True:
            try:
                queue.get_nowait()
            except Empty:
                break
        thread.join()
