"""(b) Attention beside its definition in float64: outputs, gradients, and how far a window reaches.

    error     ||got - want|| / ||want|| of the document where it is largest; inputs are rounded to
              the precision first, so that the error is the kernel's alone
    reach     the keys that one query sees: 129 of a window of 64 on each side, gradients not zero

Documents of 1, 2, 129, 1,024 and 8,192 tokens lie in one pack. A window one token too wide is an
error of 0.1 in local layers: the bounds below lie between that and rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tests.benchmarks.gpu.cells import Bench
from tests.benchmarks.gpu.kernels import NAMES, PLAIN, using
from tests.benchmarks.measure import Cell, Table
from trainer.attention import attention

HALF_WINDOW = 64
LENGTHS, TINY_LENGTHS = (1, 129, 1024, 8192, 2, 64), (1, 150, 2)
HEADS, HEAD_DIM = 2, 64
BOUNDS = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
WRONG = "WRONG"


def run(bench: Bench) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for precision, bound in BOUNDS.items():
        for half_window in (None, HALF_WINDOW):
            # Kernels know no fp32.
            for name in (PLAIN,) if precision == torch.float32 else NAMES:
                label = "global" if half_window is None else "local"
                title = f"{name}, {label}, {str(precision).removeprefix('torch.')}"

                def job(name=name, precision=precision, half=half_window, bound=bound):
                    return _row(bench, name, precision, half, bound)

                found = bench.cell(f"parity of {title}", job)
                rows.append((title, *((found,) if isinstance(found, str) else found)))
                if not isinstance(found, str) and found[-1] == WRONG:
                    bench.failures.append(f"attention by {title} is wrong: {found[:-1]}")
    return Table(
        "Attention, error relative to float64",
        ("kernel", "output", "dq", "dk", "dv", "reach", "verdict"),
        tuple(rows),
        (f"Documents of {', '.join(map(str, _lengths(bench)))} tokens in one pack.",),
    )


def _lengths(bench: Bench) -> Sequence[int]:
    return TINY_LENGTHS if bench.tiny else LENGTHS


def _row(
    bench: Bench, name: str, precision: torch.dtype, half_window: int | None, bound: float
) -> tuple[Cell, ...]:
    lengths = _lengths(bench)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(sum(lengths), 4, HEADS, HEAD_DIM, generator=generator)
    *qkv, upstream = x.to(bench.device, precision).unbind(1)  # strided, as the model has them
    given = [part.detach().requires_grad_() for part in qkv]
    ends = [0, *lengths, 0, 0]  # the last two documents have no tokens
    bounds = torch.tensor(ends, device=bench.device).cumsum(0).int()
    with using(bench, name, precision):
        out = attention(*given, bounds, max(lengths), half_window)
        got = [out.detach(), *torch.autograd.grad(out, given, upstream)]
        reach = _reach(bench, precision, half_window)
    errors = [0.0] * 4
    first = 0
    for length in lengths:
        part = slice(first, first + length)
        want = _definition([x[part] for x in qkv], upstream[part], half_window)
        for place, (mine, theirs) in enumerate(zip(got, want, strict=True)):
            errors[place] = max(errors[place], _error(mine[part], theirs))
        first += length
    seen = 2 * HALF_WINDOW + 1 if half_window is not None else 4 * HALF_WINDOW
    right = max(errors) < bound and reach == seen
    return *errors, reach, "right" if right else WRONG


def _definition(qkv: Sequence[Tensor], upstream: Tensor, half_window: int | None) -> list[Tensor]:
    """Output and gradients for one document, one L x L mask, float64."""
    q, k, v = (x.double().transpose(0, 1).detach().requires_grad_() for x in qkv)
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    if half_window is not None:
        at = torch.arange(q.shape[1], device=q.device)
        scores = scores.masked_fill((at[:, None] - at).abs() > half_window, -torch.inf)
    out = scores.softmax(-1) @ v
    gradients = torch.autograd.grad(out, (q, k, v), upstream.double().transpose(0, 1))
    return [x.detach().transpose(0, 1) for x in (out, *gradients)]


def _error(got: Tensor, want: Tensor) -> float:
    """NaN counts as infinite: it would pass every comparison."""
    # One document of one token has no gradient to q and k: there the error is absolute.
    size = want.norm().item() or want.numel() ** 0.5
    error = ((got.double() - want).norm() / size).item()
    return error if error == error else float("inf")


def _reach(bench: Bench, precision: torch.dtype, half_window: int | None) -> int:
    """Keys that the middle one of 4 windows' tokens sees."""
    length = 4 * HALF_WINDOW
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, length, HEADS, HEAD_DIM, generator=generator).to(bench.device, precision)
    q, k, v = (part.clone().requires_grad_() for part in x / 4)
    out = attention(
        q, k, v, torch.tensor([0, length], device=bench.device).int(), length, half_window
    )
    upstream = torch.zeros_like(out)
    upstream[length // 2] = 1.0
    (gradient,) = torch.autograd.grad(out, v, upstream)
    return int((gradient.float().abs().sum((1, 2)) > 0).sum())
