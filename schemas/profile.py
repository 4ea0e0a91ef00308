"""Where the work of a run is done: tables of a profile (`infra/profiles/NAME.toml`).

    [build]    the tasks that read, filter, tokenise and shard: datatrove, on processes of this
               machine, on Ray or on Slurm
    [beam]     the decide step: Beam, in this process or on whatever runner takes its job API
    [train]    torchrun: on this machine, on several that each run the same command, or in a job of
               Slurm or Kubernetes

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


class SlurmJob(Frozen):
    """How the one job of a training is submitted: the table [train.slurm]."""

    partition: str
    time: str = Field("24:00:00", description="most of the job, as sbatch writes it")
    activate: str = Field("", description="makes `python` this project's; default: as it is here")
    options: dict[str, str] = Field({}, description="further ones of sbatch: account, qos, mem")


class Pods(Frozen):
    """What the pods of a training are: the table [train.kubernetes]."""

    image: str = Field(description="of infra/Dockerfile, where the cluster can pull it")
    claim: str = Field(description="PersistentVolumeClaim of the store; every pod writes to it")
    mount: str = Field("/store", description="where the claim lies, in the pods and here")
    namespace: str = Field("", description="default: that of kubectl's context")
    memory_gb: int = Field(0, ge=0, description="of a pod; 0: no bound")
    node_selector: dict[str, str] = Field({}, description="labels of the nodes to run on")


class Training(Frozen):
    """Where torchrun runs: the table [train]."""

    launcher: Literal["local", "slurm", "kubernetes"] = "local"
    hosts: tuple[str, ...] = Field(
        (),
        description="addresses of several that each run the same command; they meet at the first",
    )
    port: int = Field(29400, ge=1, le=65535, description="where they meet")
    nodes: int = Field(1, ge=1, description="of a job")
    gpus: int = Field(0, ge=0, description="of each node of a job; 0: it trains on CPUs")
    cpus: int = Field(1, ge=1, description="of each node of a job")
    slurm: SlurmJob | None = None
    kubernetes: Pods | None = None

    @model_validator(mode="after")
    def _launcher_is_described(self) -> Training:
        if self.launcher == "slurm" and self.slurm is None:
            raise ValueError('launcher = "slurm" needs a table [train.slurm] with its partition')
        if self.launcher == "kubernetes" and self.kubernetes is None:
            raise ValueError(
                'launcher = "kubernetes" needs a table [train.kubernetes] with image and claim'
            )
        if self.launcher == "local" and self.nodes > 1:
            raise ValueError("nodes are those of a job; several hosts are named: hosts = [...]")
        if self.launcher != "local" and self.hosts:
            raise ValueError(f"hosts are for the launcher local; {self.launcher} chooses its nodes")
        return self

    @property
    def num_hosts(self) -> int:
        return len(self.hosts) or self.nodes


HERE = Workers()
IN_PROCESS = Beam()
