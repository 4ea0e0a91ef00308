"""What Prefect costs a run: `mmbert run` of a small recipe with and without it, in one go.

    without a server     --no-server
    a server of its own  started and ended with the run, on a fresh database, as `mmbert run` does
    a server that runs   PREFECT_API_URL: the cost of the flow, its tasks and artifacts alone

The recipe is `tiny` on three languages with BUDGET_TOKENS a phase (`full`: its own budgets), each
time in a store of its own. CPU-seconds are of all processes of a run, its own server included, a
server that runs excluded. A server's start is a fixed cost, so the ratio falls as a run grows: the
note says what it would be of a run of `tiny`'s own budgets, at the same cost a token.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.job import RECIPES
from flows.listener import LOOPBACK
from flows.server import FIRST_PORT, start_server
from pipelines.sample import write_sample
from schemas.recipe_file import load_recipe
from tests.benchmarks.measure import Table, cpu_s

BUDGET_TOKENS = 20_000
SOURCES = ("fineweb2", "dclm", "dolmino")
MMBERT = "import sys; from flows.cli import main; sys.exit(main(sys.argv[1:]))"
PLAIN, OWN, GIVEN = "without a server", "a server of its own", "a server that runs"


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    wall_s: float


def run(full: bool) -> list[Table]:
    phases = load_recipe("tiny", (), RECIPES).phases
    whole = sum(phase.budget_tokens for phase in phases.values())
    tokens = whole if full else BUDGET_TOKENS * len(phases)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sample(folder / "sample", languages=3, megabytes=0.4)
        sets = _sets(folder / "sample", () if full else tuple(phases))
        costs = {PLAIN: _cost(folder / "plain", [*sets, "--no-server"], {})}
        costs[OWN] = _cost(folder / "own", sets, {})
        home = folder / "home"
        home.mkdir()
        server = start_server(home, LOOPBACK, FIRST_PORT)
        try:
            while not server.answers():
                time.sleep(0.5)
            costs[GIVEN] = _cost(folder / "given", sets, {"PREFECT_API_URL": server.api_url})
        finally:
            assert server.tied is not None
            server.tied.end()
    plain = costs[PLAIN]
    rows = [
        (way, cost.cpu_s, cost.wall_s, cost.cpu_s / plain.cpu_s, cost.wall_s / plain.wall_s)
        for way, cost in costs.items()
    ]
    more = costs[OWN].cpu_s - plain.cpu_s
    told = (
        f"{tokens:,} tokens; a server of its own: {more:.1f} CPU-s more, which is "
        f"{100 * more / (plain.cpu_s * whole / tokens):.1f} % of a run of {whole:,} tokens, if "
        "that costs as much a token"
    )
    columns = ("mmbert run", "CPU-s", "seconds", "of the CPU-s without", "of the seconds")
    return [Table("Flows: what Prefect costs a run", columns, tuple(rows), (told,))]


def _sets(sample: Path, small: Sequence[str]) -> list[str]:
    """`small` names phases that get BUDGET_TOKENS."""
    sets = [f"--set=sources.{name}.path={sample / name}" for name in SOURCES]
    sets += ["--set=tokenizer.train.vocab_size=1000"]
    for phase in small:
        sets += [f"--set=phases.{phase}.{key}_tokens={BUDGET_TOKENS}" for key in ("pool", "budget")]
    return sets


def _cost(store: Path, options: list[str], variables: Mapping[str, str]) -> Cost:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    command = [sys.executable, "-c", MMBERT, "run", "tiny", "--store", str(store), *options]
    cpu, wall = cpu_s(), time.monotonic()
    subprocess.run(command, check=True, env={**plain, **variables}, stdout=subprocess.DEVNULL)
    return Cost(cpu_s() - cpu, time.monotonic() - wall)
