"""Benchmarks: what this project does, beside the best other way, in one run.

    python -m tests.benchmarks [build|loader|step] [--full] [--record]

Prints one table of ratios or more. `--full` takes more text, all languages and mmBERT-small's 22
layers (minutes more); `--record` appends the figures to record.jsonl beside this file.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from tests.benchmarks.measure import machine, record, show

NAMES = ("build", "loader", "step")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("name", nargs="?", choices=NAMES, help="one of them; all without it")
    parser.add_argument("--full", action="store_true", help="large sizes, minutes more")
    parser.add_argument("--record", action="store_true", help="append to record.jsonl")
    chosen = parser.parse_args()
    tables = []
    for name in [chosen.name] if chosen.name else NAMES:
        for table in importlib.import_module(f"tests.benchmarks.{name}").run(chosen.full):
            print(show(table), flush=True)
            tables.append(table)
    print("\n" + ", ".join(f"{key} {value}" for key, value in machine().items()))
    if chosen.record:
        record(Path(__file__).with_name("record.jsonl"), tables)


if __name__ == "__main__":
    main()
