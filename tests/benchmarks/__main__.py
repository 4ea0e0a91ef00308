"""Benchmarks: what this project does, beside the best other way, in one run.

    python -m tests.benchmarks [build|decide|loader|step|mixture|remix] [--full] [--record]
    python -m tests.benchmarks mixture [--counts FILE] [--plot docs/mixture.png]
    python -m tests.benchmarks loader [--full] [--peers FOLDER] [--record]
    python -m tests.benchmarks noise [--corpus DIR] [--record]
    python -m tests.benchmarks flows [--full] [--record]
    python -m tests.benchmarks init-small [--corpus DIR] [--plot FILE] [--full] [--record]

Prints one table of ratios or more. `--full` takes more text, all languages and mmBERT-small's 22
layers (minutes more); `--record` appends the figures to record.jsonl beside this file. `mixture`
compares with mmBERT's published counts, which are read from a file of yours. `init-small` trains
for a quarter of an hour, on a sample or on a corpus in its layout, and runs only by its name.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from schemas.errors import UserError
from tests.benchmarks.measure import Table, machine, record, show

NAMES = ("build", "decide", "loader", "step", "mixture", "remix")
COUNTS = Path("../shared/mmbert-token-counts.csv")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    choices = (*NAMES, "flows", "noise", "init-small")
    parser.add_argument("name", nargs="?", choices=choices, help="one; without it, the quick ones")
    parser.add_argument("--full", action="store_true", help="large sizes, minutes more")
    parser.add_argument("--record", action="store_true", help="append to record.jsonl")
    parser.add_argument("--counts", type=Path, default=COUNTS, help="mmBERT's counts by language")
    parser.add_argument("--corpus", type=Path, help="for build, noise, init-small; as a sample")
    parser.add_argument("--peers", type=Path, help="for loader: a venv of its peers, made there")
    parser.add_argument("--plot", type=Path, help="draw mixture or init-small into this file")
    chosen = parser.parse_args()
    tables = []
    for name in [chosen.name] if chosen.name else NAMES:
        try:
            found = _tables(name, chosen)
        except UserError as error:
            if chosen.name:
                sys.exit(str(error))
            print(f"\n{name}: {error}", flush=True)
            continue
        for table in found:
            print(show(table), flush=True)
            tables.append(table)
    print("\n" + ", ".join(f"{key} {value}" for key, value in machine().items()))
    if chosen.record:
        record(Path(__file__).with_name("record.jsonl"), tables)


def _tables(name: str, chosen: argparse.Namespace) -> Iterable[Table]:
    if name == "mixture":
        from tests.benchmarks import mixture

        return mixture.run(chosen.counts, chosen.plot)
    if name == "build":
        from tests.benchmarks import build

        return build.run(chosen.full, chosen.corpus)
    if name == "loader":
        from tests.benchmarks import loader

        return loader.run(chosen.full, chosen.peers)
    if name == "noise":
        from tests.benchmarks import noise

        return noise.run(chosen.corpus)
    if name == "init-small":
        from tests.benchmarks import init_small

        return init_small.run(chosen.full, chosen.corpus, chosen.plot)
    return importlib.import_module(f"tests.benchmarks.{name}").run(chosen.full)


if __name__ == "__main__":
    main()
