"""(e) The figures as Markdown tables, and as one line of JSON in the committed record."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.measure import Cell, Table

RECORD = Path(__file__).parents[1] / "gpu-record.jsonl"


def markdown(table: Table) -> str:
    """A row that has only a word, why there is nothing, is as wide as the others."""
    width = len(table.columns)
    rows = [[*map(_text, row), *[""] * (width - len(row))] for row in (table.columns, *table.rows)]
    rows.insert(1, ["---", *["---:"] * (width - 1)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"\n### {table.title}\n", *lines, "", *table.notes])


def append(path: Path, tables: Sequence[Table], failures: Sequence[str], seconds: float) -> None:
    """One line: date, every figure to four digits, what failed."""
    line = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "failures": list(failures),
        "figures": {
            table.title: [
                {name: _plain(cell) for name, cell in zip(table.columns, row, strict=False)}
                for row in table.rows
            ]
            for table in tables
        },
    }
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")


def _text(cell: Cell) -> str:
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else cell
    if not math.isfinite(cell):
        return "absent"
    return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"


def _plain(cell: Cell) -> Cell | None:
    if not isinstance(cell, float):
        return cell
    return float(f"{cell:.4g}") if math.isfinite(cell) else None
