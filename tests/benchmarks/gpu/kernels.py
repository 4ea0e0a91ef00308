"""The ways of attending that are here, and a switch between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch

from tests.benchmarks.gpu.cells import Absent, Bench
from trainer import attention as module
from trainer.kernels import KERNELS, Kernel, kernel, refusal

PLAIN = "plain"  # no kernel: trainer.attention's own
NAMES = (*KERNELS, PLAIN)


def find(bench: Bench, name: str, dtype: torch.dtype, windowed: bool) -> Kernel | None:
    """None for the plain form; Absent says why a kernel cannot be had."""
    if name == PLAIN:
        return None
    if not bench.cuda:
        raise Absent("no CUDA device")
    run = KERNELS[name](windowed)
    if run is None:
        raise Absent("not installed, or without windows" if windowed else "not installed")
    why = refusal(run, dtype, windowed)
    if why is not None:
        raise Absent(why)
    return run


@contextmanager
def using(bench: Bench, name: str | None, dtype: torch.dtype = torch.bfloat16) -> Iterator[None]:
    """Attend by this one alone; by what the trainer takes where there is no name."""
    if name is None:
        yield
        return
    found = {windowed: find(bench, name, dtype, windowed) for windowed in (True, False)}
    with patch.object(module, "kernel", lambda _device, _dtype, windowed: found[windowed]):
        yield


def taken(bench: Bench) -> str:
    """The name of the one that the trainer takes for local layers in bf16."""
    run = kernel(bench.device.type, torch.bfloat16, True)
    made_by = "" if run is None else run.__qualname__.split(".")[0]
    return next((name for name, find in KERNELS.items() if find.__name__ == made_by), PLAIN)
