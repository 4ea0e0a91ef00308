"""Where the work of a build runs: tables of a profile (`infra/profiles/NAME.toml`).

    [build]    the tasks that read, filter, tokenise and shard: datatrove, on processes of this
               machine, on Ray or on Slurm
    [beam]     the decide step: Beam, in this process or on whatever runner takes its job API

Nothing here enters an id: the bytes that are built do not depend on where.
"""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field, model_validator

from schemas.ledger import Frozen


class Slurm(Frozen):
    """How the jobs of a build are submitted; the store must lie where every node sees it."""

    partition: str
    time: str = Field("12:00:00", description="most of a task, as sbatch writes it")
    memory_gb: int = Field(2, ge=1, description="of a task")
    activate: str = Field("", description="makes `mmbert` callable; default: this environment")
    options: dict[str, str] = Field({}, description="further ones of sbatch: account, qos")


class Workers(Frozen):
    """Where the tasks of a build run, and how many at once: the table [build]."""

    executor: Literal["local", "ray", "slurm"] = "local"
    workers: int = Field(0, ge=0, description="tasks at once; 0: one a core of this machine")
    address: str = Field("auto", description="of the Ray cluster; auto: the one this machine is in")
    slurm: Slurm | None = None

    @model_validator(mode="after")
    def _slurm_is_described(self) -> Workers:
        if self.executor == "slurm" and self.slurm is None:
            raise ValueError('executor = "slurm" needs a table [build.slurm] with its partition')
        return self

    @property
    def count(self) -> int:
        return self.workers or os.cpu_count() or 1


class Beam(Frozen):
    """What the decide step runs on: the table [beam]."""

    runner: str = Field("", description="FlinkRunner, PortableRunner, ...; empty: in this process")
    options: tuple[str, ...] = Field((), description="of the runner, as Beam's command line")


HERE = Workers()
IN_PROCESS = Beam()
