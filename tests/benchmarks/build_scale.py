"""How a build grows: memory of a worker, two processes beside one, what a language costs.

Builds run as processes of their own, and their workers are watched through /proc:

    memory       the most that any worker ever held (VmHWM), for a file of two sizes
    processes    wall time with one worker / with two, over the same corpus; and the same ratio on
                 idle cores, 2 x CPU-s of one / CPU-s of two
    a language   (CPU-s of many languages - of few) / (many - few), each with a few documents
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.sample import write_sample
from schemas.recipe import Recipe
from schemas.text import Source
from tests.benchmarks.build_parts import read, texts_of
from tests.benchmarks.measure import Table

TICKS = os.sysconf("SC_CLK_TCK")
FEW, MANY = 30, 150  # languages


@dataclass(frozen=True)
class Watched:
    wall_s: float
    cpu_s: float
    worker_mb: float  # the most of any process but the first
    first_mb: float


def tables(recipe: Recipe, tokenizer: str, root: Path, full: bool) -> Iterator[Table]:
    """`tokenizer`: a folder with tokenizer.json, for all builds; `root` takes their files."""
    base = recipe.model_copy(
        update={
            "tokenizer": recipe.tokenizer.model_copy(
                update={"path": f"{tokenizer}/tokenizer.json", "train": None}
            )
        }
    )
    yield _languages(base, root / "languages")
    yield _processes(base, root / "processes")
    yield _memory(base, root / "memory", (20, 400) if full else (20, 100))


def _memory(base: Recipe, root: Path, sizes: tuple[int, ...]) -> Table:
    """One file, as large files are what fills a worker."""
    texts = texts_of(read(base))
    rows = []
    for megabytes in sizes:
        folder = root / f"{megabytes}"
        folder.mkdir(parents=True)
        _write(folder / "text.jsonl", texts, megabytes)
        text = Source(path=str(folder), format="documents", language="eng_Latn")
        seen = _watch(base, {"dclm": text}, folder, 2)
        rows.append((f"one file of {megabytes} MB", seen.worker_mb, seen.first_mb))
    return Table(
        "Peak memory of a build in MB (two workers)",
        ("", "a worker", "first process"),
        tuple(rows),
        ("The first process runs the decide step.",),
    )


def _write(path: Path, texts: list[str], megabytes: int) -> None:
    """Texts over and over, each with a number, so that none is a duplicate."""
    left, number = megabytes * 1e6, 0
    with path.open("w", encoding="utf-8") as lines:
        while left > 0:
            for text in texts:
                number += 1
                left -= lines.write(json.dumps({"text": f"{number} {text}"}) + "\n")
                if left < 0:
                    return


def _processes(base: Recipe, root: Path) -> Table:
    one = _watch(base, {}, root / "one", 1)
    two = _watch(base, {}, root / "two", 2)
    return Table(
        "Two processes beside one",
        ("", "wall s", "CPU-s"),
        (
            ("one worker", one.wall_s, one.cpu_s),
            ("two workers", two.wall_s, two.cpu_s),
            ("times as fast", one.wall_s / two.wall_s, 2 * one.cpu_s / two.cpu_s),
        ),
        ("Of a whole build, starts and the decide step included; by CPU-s: on idle cores.",),
    )


def _languages(base: Recipe, root: Path) -> Table:
    seen = []
    for count in (FEW, MANY):
        text = root / f"{count}"
        write_sample(text, count, 0.004 * count)
        source = Source(path=str(text / "fineweb2"), format="fineweb2")
        seen.append(_watch(base, {"fineweb2": source}, text, 1))
    few, many = seen
    each = 1000 * (many.cpu_s - few.cpu_s) / (MANY - FEW)
    return Table(
        "What a language costs, whatever its size",
        ("", "wall s", "CPU-s"),
        (
            (f"{FEW} languages", few.wall_s, few.cpu_s),
            (f"{MANY} languages", many.wall_s, many.cpu_s),
            ("ms a language more", 1000 * (many.wall_s - few.wall_s) / (MANY - FEW), each),
        ),
        ("A language has 4 kB of text in a training and a test file: two strata.",),
    )


def _watch(base: Recipe, sources: dict[str, Source], folder: Path, workers: int) -> Watched:
    """A build into a new store under `folder`, of some sources or of all."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.json"
    chosen = _only(base, sources) if sources else base
    recipe.write_text(chosen.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", __name__, str(recipe), str(folder / "store"), str(workers)]
    begun = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    peaks: dict[int, float] = {}
    spent: dict[int, float] = {}
    while process.poll() is None:
        _look(process.pid, peaks, spent)
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"the build of {recipe} ended with {process.returncode}")
    others = [peak for pid, peak in peaks.items() if pid != process.pid]
    return Watched(
        time.monotonic() - begun, sum(spent.values()), max(others, default=0), peaks[process.pid]
    )


def _only(base: Recipe, sources: dict[str, Source]) -> Recipe:
    """The recipe over these sources alone, in one phase that reads every language of them."""
    group = tuple(name for name, source in sources.items() if source.format == "fineweb2")
    shares = {name: 1.0 for name in sources if name not in group}
    update = {
        "after": None,
        "languages": "fineweb2-all",
        "temperature_sources": group,
        "shares": shares | ({"multilingual": 1.0} if group else {}),
    }
    phase = next(iter(base.phases.values())).model_copy(update=update)
    only = {"sources": sources, "phases": {"only": phase}, "release": None}
    return base.model_copy(update=only)


def _look(session: int, peaks: dict[int, float], spent: dict[int, float]) -> None:
    """Note the peak memory and the CPU-seconds of every process of a session."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session:
                continue
            pid = int(folder.name)
            spent[pid] = (int(fields[11]) + int(fields[12])) / TICKS
            status = (folder / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peaks[pid] = int(line.split()[1]) * 1024e-6


def _main(recipe_json: str, folder: str, workers: str) -> None:
    """The build that is watched."""
    from pipelines.build import build
    from pipelines.build_plan import plan_build
    from pipelines.inventory import inventory
    from pipelines.tokenizer import prepare
    from schemas.profile import Workers
    from schemas.store import Store

    recipe = Recipe.model_validate_json(Path(recipe_json).read_text(encoding="utf-8"))
    store = Store.at(folder)
    origins = inventory(recipe)
    sealed = prepare(recipe, store, origins)
    plan = plan_build(recipe, store, sealed, origins)
    build(recipe, store, sealed, plan, Workers(workers=int(workers)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
