"""Tasks of a build on Ray: one Ray task each, scheduled over all hosts of the cluster.

datatrove's own Ray executor starts an actor and a pool for every task, tells the caller of no
task's error and ends with a warning where tasks were given up. Ray's own tasks reuse its worker
processes, start again when a worker or its host dies, and raise here what they raised there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

from pipelines.executor import QuietExecutor, WorkerDied, run_rank
from schemas.errors import UserError
from schemas.profile import Workers

RETRIES = 3  # of a task whose worker or host has died


def run_on_ray(executor: QuietExecutor, workers: Workers) -> Iterator[int]:
    """The ranks, as they end. Connects to the cluster for as long, unless this process is."""
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError(
            'executor = "ray" needs Ray on every host: pip install -e ".[ray]" in the checkout'
        ) from None
    connected = ray.is_initialized()
    if not connected:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(workers.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError) as error:
            raise UserError(
                f"no Ray cluster at {workers.address!r} ([build] address of the profile); start "
                "one with `ray start --head`, or name the one to use"
            ) from error
    try:
        yield from _run(executor, workers.count)
    finally:
        if not connected:
            ray.shutdown()


def _run(executor: QuietExecutor, at_once: int) -> Iterator[int]:
    import ray
    from ray.exceptions import RayError, RayTaskError

    run = ray.remote(max_retries=RETRIES)(run_rank)
    sent = ray.put(executor)  # once, not with every task
    waiting = (run.remote(sent, rank) for rank in range(executor.tasks))
    running = list(islice(waiting, at_once))
    try:
        while running:
            (ended,), running = ray.wait(running, num_returns=1)
            yield ray.get(ended)
            running += islice(waiting, 1)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise WorkerDied(
            f"a task of the build died {RETRIES + 1} times with its Ray worker or host, most "
            f"likely for want of memory ({type(error).__name__}); run the same command again "
            "(finished work is kept), on fewer workers a host if it happens twice"
        ) from error
    finally:
        for task in running:
            ray.cancel(task)
