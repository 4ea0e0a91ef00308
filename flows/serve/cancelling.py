"""A run that is being cancelled ends, also where nobody tells it to.

A worker ends the runs of which its server says that they are being cancelled, while it listens:
after some 20 seconds without a server it gives up for good, and Prefect names the run cancelled
five minutes later while it goes on. So a run asks for itself, too, and leaves a worker that does
listen the time to end it. Of a run that is suspended no worker takes notice, and it would train on
until its heartbeats, which are no more heard, make it a crashed one. So it asks to be cancelled.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

POLL_S = 10.0
PATIENCE_S = 30.0
SUSPENDED = "It was suspended, which ends a run here: Retry goes on from its checkpoint."


@contextmanager
def heeding_cancel() -> Iterator[Callable[[], bool]]:
    """Send this process a SIGTERM PATIENCE_S after its flow run is told to end, unless one came.

    Yields what says whether that was done. Of a flow that runs in the main thread.
    """
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    ended = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield ended.is_set
        return
    # Prefect takes no cancel for one where SIGTERM has another handler than its own.
    hears, heard = socket.socketpair()
    heard.setblocking(False)
    before = signal.set_wakeup_fd(heard.fileno(), warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(context.flow_run.id, hears, ended), daemon=True)
    watch.start()
    try:
        yield ended.is_set
    finally:
        signal.set_wakeup_fd(before)
        heard.close()


def _watch(run: UUID, hears: socket.socket, ended: threading.Event) -> None:
    with hears:
        if not _is_told(run, hears):
            ended.set()
            os.kill(os.getpid(), signal.SIGTERM)
        while hears.recv(64):  # more signals, until the block ends
            pass


def _is_told(run: UUID, hears: socket.socket) -> bool:
    """Wait until the block is over or a SIGTERM has come, which is True; or until the run has been
    a cancelled one for PATIENCE_S without either."""
    since = None
    wait_s = POLL_S
    while True:
        if select.select([hears], [], [], wait_s)[0]:
            numbers = hears.recv(64)
            if not numbers or signal.SIGTERM in numbers:
                return True
        elif wait_s == 0:
            return False
        elif not _is_cancelled(run):
            since = None
        else:
            since = since or time.monotonic()
            if time.monotonic() - since >= PATIENCE_S:
                wait_s = 0.0  # it may have come while the server was asked


def _is_cancelled(run: UUID) -> bool:
    """What the server says; no while there is none."""
    import httpx
    from prefect import get_client
    from prefect.client.schemas.objects import State, StateType
    from prefect.exceptions import PrefectException

    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
            if state is not None and state.is_paused():
                state = State(type=StateType.CANCELLING, message=SUSPENDED)
                client.set_flow_run_state(run, state, force=True)
    except (httpx.HTTPError, PrefectException):
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())
