"""(c) A training step: forward, backward, optimiser, on one pack of 49,152 tokens.

    tokens/s    real tokens (no padding) / seconds
    MFU         model FLOPs (trainer/flops.py) / (seconds x the bf16 product rate measured here)

bf16 autocast over fp32 weights, the whole vocabulary, dropout as in training; eager by each kernel
at hand, and with compiled layers. Beside it transformers (peer.py) on the same documents: padded
as they come, and with the documents of a pack sorted by length, which is the best that padding can
do. The first losses, without dropout, must agree to bf16; those of compiled layers, with it, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tests.benchmarks.gpu import kernels, peer
from tests.benchmarks.gpu.cells import Bench
from tests.benchmarks.gpu.inputs import Pack
from tests.benchmarks.gpu.machine import Roofline
from tests.benchmarks.gpu.work import Work, fresh, optimiser_of
from tests.benchmarks.measure import Cell, Table
from trainer.model import ModernBert, Theta

AS_THEY_COME, BY_LENGTH = "transformers, as they come", "transformers, by length"
SAME_LOSS = 1e-2  # relative, of two ways of computing in bf16


class Measured(NamedTuple):
    seconds: float
    peak_gb: float
    first_loss: float  # nats a target


Found = dict[tuple[str, str], Measured | str]


def run(bench: Bench, roofline: Roofline, works: list[Work]) -> list[Table]:
    """The most telling cells first: the others share what time is left."""
    found: Found = {}
    taken = kernels.taken(bench)

    def measure(work: Work, name: str, job: Callable[[], Measured], takes_s: float) -> None:
        told = bench.cell(f"{work.title}, {name}", job, takes_s)
        found[work.title, name] = told
        figure = (
            told if isinstance(told, str) else f"{work.num_tokens / told.seconds:,.0f} tokens/s"
        )
        print(f"{work.title}, {name}: {figure}", flush=True)

    for work in works:
        measure(work, taken, lambda work=work: packed(bench, work, None), 8)
        measure(work, BY_LENGTH, lambda work=work: Measured(*peer.step(bench, work, True)), 15)
    for work in works:
        compiled = f"{taken}, compiled"
        measure(work, compiled, lambda work=work: packed(bench, work, None, compiled=True), 40)
    for work in works:
        measure(work, AS_THEY_COME, lambda work=work: Measured(*peer.step(bench, work, False)), 20)
    for work, name in itertools.product(works, kernels.NAMES):
        if name != taken:
            measure(work, name, lambda work=work, name=name: packed(bench, work, name), 10)
    return [_table(bench, work, roofline, found) for work in works]


def packed(bench: Bench, work: Work, kernel: str | None, compiled: bool = False) -> Measured:
    """The trainer's step, attending by that kernel; by the one it takes itself without a name."""
    with kernels.using(bench, kernel):
        model = fresh(work, bench.device)
        optimiser = optimiser_of(model)
        theta = Theta(work.phase.theta, work.phase.theta)
        turn = itertools.count()

        def loss_of(pack: Pack, dropout_key: int | None) -> Tensor:
            with bench.autocast():
                summed: Tensor = model(*pack.inputs, theta, dropout_key=dropout_key)
            return summed / pack.num_targets

        def once() -> None:
            n = next(turn)
            loss_of(work.packs[n % len(work.packs)], n).backward()
            optimiser.step()
            optimiser.zero_grad()

        with torch.no_grad():
            first = loss_of(work.packs[0], None).item()
        if compiled:
            eager = loss_of(work.packs[0], 0).item()
            _compile(bench, model)
            apart = abs(loss_of(work.packs[0], 0).item() / eager - 1)
            if not apart < SAME_LOSS:
                raise RuntimeError(f"compiled layers change the loss by {apart:.1e} of it")
        bench.reset_peak()
        return Measured(bench.seconds_of(once), bench.peak_gb(), first)


def _compile(bench: Bench, model: ModernBert) -> None:
    """Layer by layer: those of a kind share a graph."""
    torch._dynamo.config.recompile_limit = 64  # kinds of layer, contexts and sizes
    for layer in model.model.layers:
        layer.compile(backend="eager" if bench.tiny else "inductor")


def _table(bench: Bench, work: Work, roofline: Roofline, found: Found) -> Table:
    mine = {name: told for (title, name), told in found.items() if title == work.title}
    against = mine[BY_LENGTH]
    rows: list[tuple[Cell, ...]] = []
    for name, told in mine.items():
        if isinstance(told, str):
            rows.append((name, told))
            continue
        rows.append(
            (
                name,
                work.num_tokens / told.seconds,
                f"{100 * work.flops / told.seconds / roofline.peak:.1f} %",
                told.peak_gb,
                1e3 * told.seconds,
                against.seconds / told.seconds if isinstance(against, Measured) else "absent",
                told.first_loss,
            )
        )
    losses = [told.first_loss for told in mine.values() if isinstance(told, Measured)]
    if losses and not max(losses) - min(losses) <= SAME_LOSS * max(losses):
        bench.failures.append(f"{work.title}: the first losses differ: {losses}")
    optimiser = type(optimiser_of(nn.Linear(1, 1))).__name__
    return Table(
        f"Training step, {work.title}",
        ("", "tokens/s", "MFU", "peak GB", "ms", f"x {BY_LENGTH}", "first loss"),
        tuple(rows),
        (f"{work.num_tokens:,.0f} tokens and {work.flops / 1e12:.3g} TFLOP a step; {optimiser}.",),
    )
