"""The check on a GPU: is attention right, how fast is a step, and what holds it back.

    make gpu-check        or        python -m tests.benchmarks.gpu [--parts ...] [--minutes 8.5]

It needs torch (2.11 or later) and numpy. What else it finds it measures: CUDA, flash-attn,
transformers, torch-optimi; what is absent is marked so, and the rest goes on. Without CUDA it runs
on tiny sizes, which tests the check and measures nothing.

    machine   versions, device, the two constants of the roofline            machine.py
    parity    attention and its gradients beside float64                     parity.py
    step      tokens/s, MFU, memory, beside transformers                     step.py
    parts     time by part beside its floor                                  parts.py

Prints Markdown tables and appends a line to gpu-record.jsonl. Exit 1 when a cell failed or a
result is wrong; absent and out of memory are no failures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from tests.benchmarks.gpu import machine, parity, parts, report, step
from tests.benchmarks.gpu.cells import Bench
from tests.benchmarks.gpu.work import Work, works
from tests.benchmarks.measure import Table

PARTS = ("parity", "step", "parts")
DECAY_RATE = 0.05  # the decay phases differ from the one before by their smaller head alone


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="all without it")
    parser.add_argument("--minutes", type=float, default=8.5, help="no cell begins after them")
    parser.add_argument("--record", type=Path, default=report.RECORD, help="append the line there")
    chosen = parser.parse_args(arguments)
    cuda = torch.cuda.is_available()
    bench = Bench(torch.device("cuda" if cuda else "cpu"), not cuda, 60 * chosen.minutes)
    tables: list[Table] = []
    for table in _tables(bench, chosen.parts):
        print(report.markdown(table), flush=True)
        tables.append(table)
    report.append(chosen.record, tables, bench.failures, time.monotonic() - bench.begun)
    for failure in bench.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if bench.failures else 0


def _tables(bench: Bench, chosen: Sequence[str]) -> Iterator[Table]:
    """What comes to grief outside its cells becomes a table of one word."""

    def guarded(title: str, job: Callable[[], list[Table]]) -> list[Table]:
        told = bench.cell(title, job)
        return [Table(title, ("",), ((told,),))] if isinstance(told, str) else told

    roofline, table = machine.measure(bench)
    yield table
    if "parity" in chosen:
        yield from guarded("Attention", lambda: [parity.run(bench)])
    drawn: list[Work] = []
    if "parts" in chosen or "step" in chosen:
        yield from guarded("Packs", lambda: drawn.extend(works(bench)) or [])
    for work in drawn if "parts" in chosen else []:
        if work.phase.mask_rate != DECAY_RATE:
            title = f"Time by part, {work.title}"
            yield from guarded(title, lambda work=work: [parts.run(bench, roofline, work)])
    if "step" in chosen and drawn:
        yield from guarded("Training step", lambda: step.run(bench, roofline, drawn))


if __name__ == "__main__":
    sys.exit(main())
