"""Runs the tasks of a datatrove pipeline: on processes of this machine, on Ray or on Slurm.

A task is known by its rank and makes what the content of its input decides, so it may run anywhere
and twice. `execute` returns when every task has told that it ended, and raises what the first one
that failed has raised: a task that was lost is never taken for a finished one.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from typing import TypeVar

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger
from datatrove.utils.stats import PipelineStats

from schemas.profile import Workers
from schemas.progress import Progress
from schemas.store import Store

T = TypeVar("T")


class WorkerDied(RuntimeError):
    """A worker ended without a word."""


class Tasks(tuple[Sequence[T], ...]):
    """What each task works on. datatrove copies its pipeline for each task: this stays as it is,
    since the list of a large build is long.
    """

    def __deepcopy__(self, memo: dict[int, object]) -> Tasks[T]:
        return self


class QuietExecutor(LocalPipelineExecutor):
    """datatrove's executor of one rank, wherever it is called.

    Its logs, statistics and completion markers stay in the worker's memory: the caller learns of
    an end or an error from the call itself, and hosts need no folder in common.
    """

    def __init__(self, steps: Sequence[PipelineStep], tasks: int) -> None:
        super().__init__(
            list(steps), tasks, logging_dir="memory://mmbert-logs", skip_completed=False
        )

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # processes scale better than its threads
        with contextlib.redirect_stderr(_Nowhere()):
            return super()._run_for_rank(rank, local_rank, node_rank)


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def run_rank(executor: QuietExecutor, rank: int) -> int:
    """Run one task here, on a copy of the pipeline, which counts what it does."""
    pipeline, executor.pipeline = executor.pipeline, deepcopy(executor.pipeline)
    try:
        executor._run_for_rank(rank)
    finally:
        executor.pipeline = pipeline
    return rank


def execute(
    steps: Sequence[PipelineStep],
    tasks: int,
    workers: Workers,
    store: Store,
    what: str,
    progress: Progress,
) -> None:
    """Run `tasks` tasks of a pipeline where `workers` says; any failure is raised here.

    Raises what a task raised, and WorkerDied when workers were killed. On Slurm the store holds
    what its nodes need to know of each other.
    """
    logger.remove()
    progress(what, 0, tasks)
    ended = set()
    for rank in _run(steps, tasks, workers, store):
        ended.add(rank)
        progress(what, len(ended), tasks)
    if len(ended) != tasks:
        raise WorkerDied(
            f"{what}: {tasks - len(ended)} of {tasks} tasks never told that they ended"
        )


def _run(
    steps: Sequence[PipelineStep], tasks: int, workers: Workers, store: Store
) -> Iterator[int]:
    """The ranks, as they end."""
    if workers.executor == "slurm":
        from pipelines.on_slurm import run_on_slurm

        return run_on_slurm(steps, tasks, workers, store)
    executor = QuietExecutor(steps, tasks)
    if workers.executor == "ray":
        from pipelines.on_ray import run_on_ray

        return run_on_ray(executor, workers)
    if min(workers.count, tasks) == 1:
        return (run_rank(executor, rank) for rank in range(tasks))
    return _run_on_processes(executor, min(workers.count, tasks))


def _run_on_processes(executor: QuietExecutor, num_processes: int) -> Iterator[int]:
    """A pool that notices when the system kills one of its workers."""
    context = multiprocessing.get_context("forkserver")
    # Imported by the server that workers are forked from: once, and not by every worker.
    context.set_forkserver_preload(
        ["__main__", *(type(step).__module__ for step in executor.pipeline)]
    )
    with ProcessPoolExecutor(num_processes, context, _take, (executor,)) as pool:
        ranks = [pool.submit(_run_taken, rank) for rank in range(executor.tasks)]
        try:
            for rank in as_completed(ranks):
                yield rank.result()
        except BrokenProcessPool as error:
            raise WorkerDied(
                f"one of the {num_processes} build workers was killed, most likely for want of "
                "memory; run the same command again (finished work is kept), with fewer workers "
                "in the profile if it happens twice"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


_taken: list[QuietExecutor] = []  # of a worker process: sent once and not with every task


def _take(executor: QuietExecutor) -> None:
    _taken.append(executor)


def _run_taken(rank: int) -> int:
    return run_rank(_taken[-1], rank)
