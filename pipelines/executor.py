"""Runs datatrove pipelines on this machine: one pool of processes for all work of a step."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger
from datatrove.utils.stats import PipelineStats

from schemas.progress import Progress

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
    """datatrove's local executor; its task logs go to the log folder and not to the terminal."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # processes scale better than its threads
        with contextlib.redirect_stderr(_Nowhere()):
            return super()._run_for_rank(rank, local_rank, node_rank)

    def run(self) -> None:
        """All ranks on a pool that notices when the system kills one of its workers."""
        if self.workers == 1:
            super().run()
            return
        context = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
            ranks = [pool.submit(self._run_for_rank, rank) for rank in range(self.tasks)]
            try:
                for rank in as_completed(ranks):
                    rank.result()
            except BrokenProcessPool as error:
                raise WorkerDied(
                    f"one of the {self.workers} build workers was killed, most likely for want of "
                    "memory; run the same command again (finished work is kept), with fewer "
                    "workers in the profile if it happens twice"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)

    def save_executor_as_json(self, indent: int = 4) -> None:
        """Nothing: the work of a task is known by content, and its list can be very long."""


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def execute(
    steps: Sequence[PipelineStep],
    tasks: int,
    workers: int,
    log_folder: Path,
    what: str,
    progress: Progress,
) -> None:
    """Run `tasks` tasks of a pipeline on `workers` processes; any failure is raised here."""
    logger.remove()
    executor = QuietExecutor(
        pipeline=list(steps),
        tasks=tasks,
        workers=min(workers, tasks),
        logging_dir=str(log_folder),
        skip_completed=False,  # what is done is known by content, not by the rank that did it
    )
    finished = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(log_folder / "completions", tasks, what, progress, finished)
    )
    watcher.start()
    try:
        executor.run()
    finally:
        finished.set()
        watcher.join()
    progress(what, tasks, tasks)


def _watch(
    completions: Path, tasks: int, what: str, progress: Progress, finished: threading.Event
) -> None:
    while not finished.wait(0.5):
        done = len(list(completions.iterdir())) if completions.is_dir() else 0
        progress(what, done, tasks)
