"""Tasks of a build on Slurm: an array job of datatrove's, which is waited for.

`sbatch --wait` ends with the whole array. What each node needs to know (the pickled pipeline), its
logs and the markers of ended tasks lie in `spills/slurm-<id>/` of the store, which every node must
see; the folder goes when all tasks have ended, and stays for its logs when one has not.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats

from pipelines.executor import WorkerDied
from schemas.errors import UserError
from schemas.profile import Slurm, Workers
from schemas.store import Store, join

POLL_S = 5
LATE_S = 60  # that a network disk may take to show a marker


class ArrayJob(SlurmPipelineExecutor):
    """datatrove's Slurm executor; a user's mistake is kept for the one who waits."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        try:
            return super()._run_for_rank(rank, local_rank, node_rank)
        except UserError as error:
            with (
                contextlib.suppress(OSError),  # a full disk may be what it tells
                self.logging_dir.open(f"refused/{rank:05d}", "w") as file,
            ):
                file.write(str(error))
            raise

    def save_executor_as_json(self, indent: int = 4) -> None:
        """Nothing: the pickle says it, and what a task works on can be very long."""

    def launch_merge_stats(self) -> None:
        """Nothing: one more job to wait for."""

    def ended(self) -> set[int]:
        """The ranks whose markers are there."""
        self.logging_dir.invalidate_cache()  # object stores list from memory otherwise
        return {int(Path(name).name) for name in self.logging_dir.list_files("completions")}

    def refused(self) -> str:
        """What the first task that met bad input said; empty if none did."""
        for name in self.logging_dir.list_files("refused")[:1]:
            with self.logging_dir.open(name, "r") as file:
                return str(file.read())
        return ""


def array_job(
    steps: Sequence[PipelineStep], tasks: int, at_once: int, slurm: Slurm, folder: str
) -> ArrayJob:
    """The job, not yet submitted; its script and its pickle are written when it is."""
    return ArrayJob(
        list(steps),
        tasks,
        time=slurm.time,
        partition=slurm.partition,
        mem_per_cpu_gb=slurm.memory_gb,
        workers=at_once,
        job_name="mmbert-build",
        qos="",
        env_command=slurm.activate or f"source {sys.prefix}/bin/activate",
        sbatch_args={"wait": "", **slurm.options},
        logging_dir=folder,
    )


def run_on_slurm(
    steps: Sequence[PipelineStep], tasks: int, workers: Workers, store: Store
) -> Iterator[int]:
    """The ranks, as they end. Raises UserError where sbatch is missing or refuses the job."""
    assert workers.slurm is not None
    folder = join(store.url, "spills", f"slurm-{uuid.uuid4().hex[:8]}")
    job = array_job(steps, tasks, workers.count, workers.slurm, folder)
    told: set[int] = set()
    polls_left = LATE_S // POLL_S
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(job.run)
        while len(told) < tasks and polls_left:
            wait([submitted], POLL_S)
            if submitted.done():
                time.sleep(POLL_S)  # a file may be seen late over a network
                failed = submitted.exception() is not None
                polls_left = 0 if failed else polls_left - 1
            ended = job.ended()
            yield from sorted(ended - told)
            told |= ended
    _explain(submitted.exception(), job, folder, tasks - len(told))
    store.remove(folder)


def _explain(error: BaseException | None, job: ArrayJob, folder: str, num_missing: int) -> None:
    """Raise if the job could not be submitted or a task of it has not ended."""
    if isinstance(error, FileNotFoundError):
        raise UserError(
            'executor = "slurm" needs sbatch, which is not on the PATH; run this where Slurm\'s '
            "commands are, or choose another profile"
        ) from error
    if error is not None and not isinstance(error, subprocess.CalledProcessError):
        raise error
    if said := job.refused():
        raise UserError(said) from error
    if num_missing:
        raise WorkerDied(
            f"{num_missing} of {job.tasks} tasks have not ended on Slurm; what they and sbatch "
            f"said lies in {folder}; run the same command again (finished work is kept)"
        ) from error
