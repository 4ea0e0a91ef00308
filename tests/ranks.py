"""Trainer processes for tests: real ones, which can be killed, forked from a server that has torch.

run = start(run_json, "--threads", "1", world=2);  assert run.wait() == [0, 0]
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
# Seconds of imports, once instead of in every rank.
_CONTEXT.set_forkserver_preload(
    [
        "trainer.__main__",
        "tests.runs",
        "trainer.convert.to_transformers",
        "torch._refs",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.modernbert.modeling_modernbert",
    ]
)


@dataclass(frozen=True)
class Ranks:
    processes: list[BaseProcess]
    printed: Path

    def wait(self, timeout_s: float = 240) -> list[int | None]:
        """Exit codes; None for a rank that is still alive after the time, which is then killed."""
        until = time.monotonic() + timeout_s
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        return codes

    def sentences(self) -> list[str]:
        """What the ranks have to say, without the bars and warnings of libraries."""
        lines = self.printed.read_text().splitlines()
        return [line for line in lines if line.startswith("mmbert: ")]


def start(
    run_json: str,
    *options: str,
    world: int = 1,
    file_bytes: int | None = None,
    last_rank: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    recorded: Path | None = None,
) -> Ranks:
    """`python -m trainer RUN.json OPTIONS` on a CPU, as torchrun would start `world` ranks of it.

    file_bytes: no file may grow beyond, as on a disk that is full. last_rank: its further options.
    environment: what this process has and the server that they are forked from has not.
    recorded: a folder, where each rank writes down what it trains on (tests/recorded.py).
    """
    printed = Path(run_json).with_name("printed.txt")
    printed.write_text("")
    ranks = dict(environment or {})
    ranks |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
    arguments = [run_json, "--device", "cpu", "--threads", "1", *options]
    processes = [
        _CONTEXT.Process(
            target=_rank,
            args=(
                [*arguments, *(last_rank if r == world - 1 else ())],
                ranks | {"RANK": str(r)},
                printed,
                file_bytes,
                recorded and recorded / f"{r}.jsonl",
            ),
        )
        for r in range(world)
    ]
    for process in processes:
        process.start()
    return Ranks(processes, printed)


def _rank(
    arguments: list[str],
    environment: dict[str, str],
    printed: Path,
    file_bytes: int | None,
    recorded: Path | None,
) -> None:
    output = os.open(printed, os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environment)
    sys.argv = ["trainer", *arguments]
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    from tests.recorded import record
    from tests.runs import undrawn
    from trainer.__main__ import main

    undrawn()
    if recorded:
        record(recorded)
    main()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
