"""(d) Where the time of a step goes: each part forward and backward alone, beside its floor.

    floor = max(FLOPs / peak, bytes / bandwidth)

Bytes are the fewest that a part must move in the precision it has them, each input read once and
each output written once: a part at its floor gets faster only together with its neighbours.
T tokens, M targets, H hidden, I intermediate, L layers, V vocabulary, P parameters:

    look-up         read and written in fp32, forward and backward; a gradient of all V words
                    16 T H + 4 V H
    norms           fp32, read, written; x and dy read, dx written: 20 T H each, 2 L + 1 of them
    rotation        q, k, v in bf16 read, written, and their gradients: 24 T H each, L of them
    attention       12 H FLOPs a pair of query and key; q, k, v, o in bf16, then they and do read,
                    dq, dk, dv written: 24 T H
    matrices        6 T (4 H^2 + 3 H I) FLOPs; inputs and outputs in bf16 forward, both and the
                    outputs' gradients read backward and the inputs' written: 2 T (19 H + 15 I),
                    with gelu(a) g, from 2 I to I, among them
    dropout, sums   h in fp32 and two bf16 read, h written; its gradient read, two bf16 and it
                    written: 24 T H (a mask drawn where it is used)
    head and loss   6 M (H^2 + H V) FLOPs; weights read in bf16 twice, their gradient written
    optimiser       weights, gradients and two moments read, weights and moments written: 28 P
    rest            the step less all these: casts of weights, launches, what overlaps is negative
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.benchmarks.gpu.cells import Bench
from tests.benchmarks.gpu.machine import Roofline
from tests.benchmarks.gpu.pieces import Pieces, Run
from tests.benchmarks.gpu.step import packed
from tests.benchmarks.gpu.work import Work
from tests.benchmarks.measure import Cell, Table
from trainer.flops import local_pairs


class Part(NamedTuple):
    name: str
    times: int  # in a step
    flops: float  # of all those times
    num_bytes: float
    prepare: Callable[[], Run]


def run(bench: Bench, roofline: Roofline, work: Work) -> Table:
    step = bench.cell(f"{work.title}, step", lambda: packed(bench, work, None).seconds, 8)
    rows: list[tuple[Cell, ...]] = []
    total = 0.0
    for part in _parts(Pieces(bench, work)):
        name = f"{work.title}, {part.name}"
        once = bench.cell(name, lambda part=part: bench.seconds_of(part.prepare()), 3)
        if isinstance(once, str):
            rows.append((part.name, once))
            continue
        seconds = part.times * once
        floor = roofline.seconds(part.flops, part.num_bytes)
        total += seconds
        rows.append(
            (*_row(part.name, seconds, step), 1e3 * floor, f"{100 * floor / seconds:.0f} %")
        )
    if isinstance(step, float):
        rows += [_row("rest", step - total, step), _row("step", step, step)]
    return Table(
        f"Time by part, {work.title}",
        ("", "ms", "of the step", "floor, ms", "floor / time"),
        tuple(rows),
    )


def _row(name: str, seconds: float, step: float | str) -> tuple[Cell, ...]:
    share = f"{100 * seconds / step:.1f} %" if isinstance(step, float) else "absent"
    return name, 1e3 * seconds, share


def _parts(pieces: Pieces) -> list[Part]:
    config, pack = pieces.config, pieces.pack
    h, i, v = config.hidden_size, config.intermediate_size, config.vocab_size
    t, m, layers = pieces.num_tokens, pack.num_targets, config.num_layers
    num_global, half = -(-layers // config.global_every), config.local_window // 2
    num_local = layers - num_global
    pairs = 12.0 * h * int((pack.lengths**2).sum())
    local = 12.0 * h * local_pairs(pack.lengths, half)
    weights = 4 * h * h + 3 * h * i
    num_parameters = sum(p.numel() for p in pieces.model.parameters())
    return [
        Part("look-up", 1, 0, 16.0 * t * h + 4 * v * h, pieces.look_up),
        Part("norms", 2 * layers + 1, 0, (2 * layers + 1) * 20.0 * t * h, pieces.norm),
        Part("rotation", layers, 0, layers * 24.0 * t * h, pieces.rotation),
        Part(
            "attention, global",
            num_global,
            num_global * pairs,
            num_global * 24.0 * t * h,
            lambda: pieces.attention(None),
        ),
        Part(
            "attention, local",
            num_local,
            num_local * local,
            num_local * 24.0 * t * h,
            lambda: pieces.attention(half),
        ),
        Part(
            "matrices",
            layers,
            6.0 * layers * t * weights,
            layers * 2.0 * t * (19 * h + 15 * i),
            pieces.matrices,
        ),
        Part("dropout, sums", layers, 0, layers * 24.0 * t * h, pieces.sums),
        Part("head and loss", 1, 6.0 * m * h * (h + v), 8.0 * v * h, pieces.head),
        Part("optimiser", 1, 0, 28.0 * num_parameters, pieces.optimiser),
    ]
