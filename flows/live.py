"""Artifacts that stay true while something runs: drawn and sent again, by a thread of their own.

    with live(Drawing("training-tiny", "markdown", 10.0, draw)):
        ...                      `draw` is called now and then, and once more at the end

So a server that is slow, or away for a while, holds nothing up and fails nothing: what could not
be sent is sent next time. An artifact is made once for each flow run and then changed in place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flows.artifacts import key
from flows.orchestrate import in_flow_run, note
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from uuid import UUID

TICK_S = 1.0
BAR_EVERY_S = 5.0
PATIENCE_S = 15.0  # at the end, for the last of it
SHARE_OF_TIME = 200  # a drawing that takes a second of a core is drawn again after 200


@dataclass(frozen=True)
class Drawn:
    """What an artifact shows: Markdown, or for progress a percentage."""

    data: str | float
    description: str = ""


@dataclass(frozen=True)
class Drawing:
    key: str
    kind: Literal["markdown", "progress"]
    every_s: float
    draw: Callable[[], Drawn | None]  # None: nothing to show yet


@contextmanager
def bar(recipe: str, what: str, also: Progress = silent) -> Iterator[Progress]:
    """A bar on the page of the flow run, from the first time that it is told how far `what` is.

    `also` is told the same.
    """
    latest: list[Drawn] = []

    def progress(what: str, done: int, of: int) -> None:
        also(what, done, of)
        if of:
            latest[:] = [Drawn(round(100 * min(1.0, done / of), 1), what)]

    name = key("progress", recipe, what)
    with live(Drawing(name, "progress", BAR_EVERY_S, lambda: latest[0] if latest else None)):
        yield progress


@contextmanager
def live(*drawings: Drawing) -> Iterator[None]:
    """Keep artifacts of the running flow true; does nothing where none runs on a server."""
    if not in_flow_run():
        yield
        return
    from prefect.utilities.context import get_task_and_flow_run_ids

    sender = _Sender(drawings, *get_task_and_flow_run_ids())
    sender.start()
    try:
        yield
    finally:
        sender.finish()
        if sender.problem:
            note(f"the artifacts of this run may be behind: {sender.problem}")


class _Sender(threading.Thread):
    def __init__(
        self, drawings: tuple[Drawing, ...], task_run: UUID | None, flow_run: UUID | None
    ) -> None:
        super().__init__(name="artifacts", daemon=True)
        self.problem = ""
        self._drawings = drawings
        self._runs = {"task_run_id": task_run, "flow_run_id": flow_run}
        self._made: dict[str, UUID] = {}
        self._sent: dict[str, Drawn] = {}
        self._due = dict.fromkeys((drawing.key for drawing in drawings), 0.0)
        self._ending = threading.Event()

    def finish(self) -> None:
        self._ending.set()
        self.join(PATIENCE_S)
        if self.is_alive():
            self.problem = f"the server took more than {PATIENCE_S:.0f} s for the last of them"

    def run(self) -> None:
        while not self._ending.wait(TICK_S):
            self._send()
        self._due = dict.fromkeys(self._due, 0.0)
        self._send()

    def _send(self) -> None:
        for drawing in self._drawings:
            start, used = time.monotonic(), time.thread_time()
            if start < self._due[drawing.key]:
                continue
            try:
                if not self._send_one(drawing):
                    continue  # due until there is something: then it is seen at once
                self.problem = ""
            except Exception as error:  # whatever a server does, what runs here goes on
                self.problem = str(error) or type(error).__name__
            used = time.thread_time() - used
            self._due[drawing.key] = start + max(drawing.every_s, SHARE_OF_TIME * used)

    def _send_one(self, drawing: Drawing) -> bool:
        """Whether there was anything to show."""
        drawn = drawing.draw()
        if drawn is None:
            return False
        if drawn == self._sent.get(drawing.key):
            return True
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.actions import ArtifactCreate

        with get_client(sync_client=True) as client:
            if made := self._made.get(drawing.key):
                # Without Prefect's event for each change: a long training has thousands of them.
                client.request(
                    "PATCH",
                    "/artifacts/{id}",
                    path_params={"id": made},
                    json={"data": drawn.data, "description": drawn.description},
                )
            else:
                artifact = ArtifactCreate(
                    key=drawing.key,
                    type=drawing.kind,
                    data=drawn.data,
                    description=drawn.description,
                    **self._runs,
                )
                self._made[drawing.key] = client.create_artifact(artifact).id
        self._sent[drawing.key] = drawn
        return True
