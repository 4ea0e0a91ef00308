"""Flows and tasks that are Prefect's when a server is there, and plain calls when it is not.

    @flow("data", "data {job.recipe}")    without a server: a function that is called
    def data(job: Job): ...               after `use_prefect()`: a Prefect flow on that server

So one chain serves both, and `--no-server` never imports Prefect. A flow that is called by another
one is a part of it: its tasks and artifacts stand on one page. Prefect's own result cache stays
off: everything a task makes is kept in the store under the id of its content, which is what makes
a second run skip it, from the shell and from the UI alike.

A process that a Prefect worker started is in a flow run already; it calls `use_given_prefect()`,
since its server's address and its home are in its environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from schemas.errors import UserError

if TYPE_CHECKING:
    from prefect.states import State

P = ParamSpec("P")
R = TypeVar("R")

_prefect = False
DRAIN_S = 10


def use_prefect(api_url: str, home: str) -> None:
    """Run flows on the server at `api_url` from here on; `home` holds the client's own files."""
    os.environ |= {
        "PREFECT_API_URL": api_url,
        "PREFECT_HOME": home,
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the console is flows/console.py's
    }
    use_given_prefect()


def use_given_prefect() -> None:
    """Run flows on the server that the environment names, which Prefect itself reads."""
    global _prefect
    _prefect = True


def leave_prefect() -> None:
    """Send what still waits to be sent, before the server goes away; then plain calls again."""
    global _prefect
    if _prefect:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        APILogWorker.drain_all(timeout=DRAIN_S)
        EventsWorker.drain_all(timeout=DRAIN_S)
    _prefect = False


def in_flow_run() -> bool:
    """Whether this is called from a flow that runs on a server."""
    if not _prefect:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def flow_run_id() -> str | None:
    """Of the flow run that this is a part of: the same however often that is started."""
    if not in_flow_run():
        return None
    from prefect.runtime import flow_run

    return str(flow_run.id)


def flow(name: str, run_name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`run_name` may hold the function's parameters, as in "run {job.recipe}"."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _prefect or in_flow_run():
                return function(*args, **kwargs)
            import prefect

            whole = prefect.flow(name=name, flow_run_name=run_name, persist_result=False)
            return whole(function)(*args, **kwargs)

        return call

    return decorate


def task(run_name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`run_name` may hold the function's parameters, as in "manifest of {phase}"."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _prefect:
                return function(*args, **kwargs)
            import prefect
            from prefect.cache_policies import NO_CACHE

            refused: list[UserError] = []

            @wraps(function)
            def told(*args: P.args, **kwargs: P.kwargs) -> R | State[R]:
                try:
                    return function(*args, **kwargs)
                except UserError as error:
                    refused.append(error)
                    return failed(str(error))

            step = prefect.task(
                name=function.__name__,
                task_run_name=run_name,
                cache_policy=NO_CACHE,
                persist_result=False,
            )
            result = step(told)(*args, **kwargs)
            if refused:
                raise refused[0]
            return cast(R, result)

        return call

    return decorate


def failed(sentence: str) -> State[R]:
    """What a flow or task returns to end with a sentence, without a traceback in its log."""
    from prefect.states import Failed

    return Failed(message=sentence)


def note(text: str) -> None:
    """A line in the log of the running flow or task."""
    if _prefect:
        from prefect.exceptions import MissingContextError
        from prefect.logging import get_run_logger

        try:
            get_run_logger().info(text)
        except MissingContextError:  # between two flows
            return


def send_notes() -> None:
    """Send what was noted now: a process that a signal ends has no time for it at its end."""
    if _prefect:
        from prefect.logging.handlers import APILogHandler

        APILogHandler().flush()
