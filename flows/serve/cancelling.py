"""A run that is being cancelled ends, also where nobody tells it to.

A worker ends the runs of which its server says that they are being cancelled, while it listens:
after some 20 seconds without a server it gives up for good, and Prefect names the run cancelled
five minutes later while it goes on. So a run asks for itself, too, and leaves a worker that does
listen the time to end it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from uuid import UUID

POLL_S = 10.0
PATIENCE_S = 30.0


@contextmanager
def heeding_cancel() -> Iterator[Callable[[], bool]]:
    """Send this process a SIGTERM PATIENCE_S after its flow run is told to end, unless one came.

    Yields what says whether that was done. Of a flow that runs in the main thread.
    """
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    over, ended = threading.Event(), threading.Event()
    before = signal.getsignal(signal.SIGTERM)

    def hear(number: int, frame: FrameType | None) -> None:
        over.set()
        assert callable(before)
        before(number, frame)

    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield ended.is_set
        return
    signal.signal(signal.SIGTERM, hear)
    watch = threading.Thread(target=_watch, args=(context.flow_run.id, over, ended), daemon=True)
    watch.start()
    try:
        yield ended.is_set
    finally:
        over.set()
        signal.signal(signal.SIGTERM, before)


def _watch(run: UUID, over: threading.Event, ended: threading.Event) -> None:
    since = None
    while not over.wait(POLL_S):
        if not _is_cancelled(run):
            since = None
            continue
        since = since or time.monotonic()
        if time.monotonic() - since >= PATIENCE_S:
            ended.set()
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _is_cancelled(run: UUID) -> bool:
    """What the server says; no while there is none."""
    import httpx
    from prefect import get_client
    from prefect.exceptions import PrefectException

    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
    except (httpx.HTTPError, PrefectException):
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())
