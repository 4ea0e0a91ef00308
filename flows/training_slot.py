"""One training at a time: a training takes a slot of a server's limit and gives it back at its end.

The limit is a global concurrency limit of Prefect's, made when the deployments are registered
(flows/serve/deployments.py); its page in the UI changes how many trainings may run at once. The
slot is a lease that is renewed while its process lives: after a kill -9 it is free within minutes.
Whoever waits says so in the state of its run, with the run that trains. Without a server, or on
one that has no such limit, nobody waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from flows.console import console
from flows.going_on import at_work
from flows.launch.torchrun import GRACE_S
from flows.orchestrate import in_flow_run, note

LIMIT = "mmbert-training"
LEASE_S = 120.0
POLL_S = 5.0
TRAINING = "Training"  # names of states; both are of Prefect's type RUNNING
WAITING = "WaitingToTrain"


@contextmanager
def training_slot(run_json: Path) -> Iterator[None]:
    """Hold a slot while the block trains a run; waits for one without an end."""
    if not in_flow_run() or not _is_limited():
        yield
        return
    from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
    from prefect.concurrency.sync import concurrency

    logging.getLogger("prefect._internal.concurrency").addFilter(_is_no_look)
    told = ""
    with ExitStack() as held:
        while True:
            slot = concurrency(
                LIMIT, max_retries=0, lease_duration=LEASE_S, raise_on_lease_renewal_failure=False
            )
            try:
                held.enter_context(slot)
                break
            except ConcurrencySlotAcquisitionError:
                waits = _what_for()
                if waits != told:
                    told = waits
                    console.say(f"  {told}")
                    _say(WAITING, told)
                time.sleep(POLL_S)
        _say(TRAINING, "holds the training slot")
        until_left(run_json)
        yield


def _is_no_look(record: logging.LogRecord) -> bool:
    """Prefect tells of every look at a slot that is taken as of an error, on the console."""
    return "ConcurrencySlotAcquisition" not in record.getMessage()


def until_left(run_json: Path) -> None:
    """Wait while a trainer still saves its checkpoint whose flow was killed; not for one that goes
    on after that: somebody started it elsewhere, and the next trainer says so."""
    if not at_work(run_json.parent):
        return
    note(f"waits until the training before has saved its checkpoint in {run_json.parent}")
    deadline = time.monotonic() + GRACE_S
    while at_work(run_json.parent) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _is_limited() -> bool:
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            return False
    return True


def _what_for() -> str:
    """The runs whose state says that they train, in a sentence."""
    from prefect import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateName,
    )

    training = FlowRunFilterState(name=FlowRunFilterStateName(any_=[TRAINING]))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=training))
    told = [f"{run.name} (started {_clock(run.start_time)})" for run in found]
    if not told:
        return "waits for the place of a training that has ended or saves its checkpoint"
    return f"waits until {' or '.join(sorted(told))} has ended: one training at a time"


def _clock(time_: datetime | None) -> str:
    return time_.astimezone().strftime("%H:%M") if time_ else "just now"


def _say(state: str, message: str) -> None:
    """Name what the run does now, unless it is being cancelled."""
    from prefect import get_client
    from prefect.context import FlowRunContext
    from prefect.states import Running

    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    with get_client(sync_client=True) as client:
        now = client.read_flow_run(context.flow_run.id).state
        if now is not None and now.is_running():
            # Prefect takes one running state after another for a repetition, unless it is forced.
            named = Running(name=state, message=message)
            client.set_flow_run_state(context.flow_run.id, named, force=True)
