"""What a benchmark measures with and how it is told: CPU-seconds, memory, plain tables.

Everything that is compared is measured in one run, turn by turn, in CPU-seconds: other work on the
machine then slows all of it alike. Nothing here or in the benchmarks asserts a time.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("mmbert", "numpy", "pyarrow", "tokenizers", "datatrove", "torch", "transformers")

Cell = str | int | float


@dataclass(frozen=True)
class Table:
    """Rows under `columns`, the first of which names the row; `notes` say what it is about."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def cpu_s() -> float:
    """CPU-seconds of this process with all its threads, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def cpu_of(work: Callable[[], object]) -> float:
    begun = cpu_s()
    work()
    return cpu_s() - begun


def anonymous_mb() -> float:
    """Memory of this process that is no mapped file, in MB; NaN where the system does not tell."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except FileNotFoundError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) * 1024e-6


def show(table: Table) -> str:
    """The table as text, numbers to three digits."""
    cells = [table.columns, *(tuple(map(_text, row)) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    words = [all(isinstance(row[i], str) for row in table.rows) for i in range(len(widths))]
    lines = [
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(row, widths, words, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join([f"\n{table.title}", "", *lines, "", *table.notes])


def _text(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.3g}" if abs(cell) < 10 else f"{cell:.1f}"


def machine() -> dict[str, Cell]:
    """What a figure depends on; `load` is the work others did meanwhile (a minute's average)."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def record(path: Path, tables: Sequence[Table]) -> None:
    """Append one JSON line: date, machine, versions and every figure."""
    line = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {name: version(name) for name in LIBRARIES},
        "figures": {
            table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            for table in tables
        },
    }
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
