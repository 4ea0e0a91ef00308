"""(a) What is here: versions, device, driver, clocks, and the two constants of the roofline.

    peak        2 n^3 / seconds of a product of two random n x n matrices in bf16
    bandwidth   bytes read and bytes written / seconds of a copy too large for any cache

No part of a step runs faster than max(its FLOPs / peak, its bytes / bandwidth).
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from dataclasses import dataclass

import torch

from tests.benchmarks.gpu.cells import Bench
from tests.benchmarks.measure import Cell, Table

LIBRARIES = ("torch", "triton", "transformers", "flash-attn", "torch-optimi", "numpy")
QUERIED = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit")


@dataclass(frozen=True)
class Roofline:
    peak: float  # FLOP/s
    bandwidth: float  # bytes/s

    def seconds(self, flops: float, num_bytes: float) -> float:
        return max(flops / self.peak, num_bytes / self.bandwidth)


def measure(bench: Bench) -> tuple[Roofline, Table]:
    """The roofline is NaN where it could not be measured."""
    peak = bench.cell("matrix product", lambda: _peak(bench))
    bandwidth = bench.cell("copy", lambda: _bandwidth(bench))
    rows: list[tuple[Cell, ...]] = [
        *_device(bench).items(),
        *_query(bench).items(),
        ("bf16 matrix product, TFLOP/s", peak / 1e12 if isinstance(peak, float) else peak),
        ("copy, TB/s", bandwidth / 1e12 if isinstance(bandwidth, float) else bandwidth),
        *_versions().items(),
    ]
    roofline = Roofline(*(x if isinstance(x, float) else float("nan") for x in (peak, bandwidth)))
    return roofline, Table("Machine", ("", "here"), tuple(rows))


def _peak(bench: Bench) -> float:
    n = 256 if bench.tiny else 8192
    a, b = (torch.randn(n, n, device=bench.device).bfloat16() for _ in range(2))
    return 2 * n**3 / bench.seconds_of(lambda: a @ b)


def _bandwidth(bench: Bench) -> float:
    size = 2**22 if bench.tiny else 2**32
    a = torch.empty(size, dtype=torch.uint8, device=bench.device).random_()
    b = torch.empty_like(a)
    return 2 * size / bench.seconds_of(lambda: b.copy_(a))


def _device(bench: Bench) -> dict[str, Cell]:
    if not bench.cuda:
        return {"device": "cpu", "CUDA": "absent: torch finds no device"}
    found = torch.cuda.get_device_properties(bench.device)
    return {
        "device": found.name,
        "compute capability": f"{found.major}.{found.minor}",
        "memory, GB": found.total_memory / 1e9,
        "multiprocessors": found.multi_processor_count,
    }


def _query(bench: Bench) -> dict[str, Cell]:
    """What the driver says of the device; asked, never set."""
    asked = ["nvidia-smi", f"--query-gpu={','.join(QUERIED)}", "--format=csv,noheader", "--id=0"]
    values = [value.strip() for value in (_told(asked) if bench.cuda else "").split(",")]
    if len(values) != len(QUERIED):
        return {"nvidia-smi": "absent"}
    return dict(zip(QUERIED, values, strict=True))


def _told(command: list[str]) -> str:
    """What a command prints; nothing where there is no such command or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _versions() -> dict[str, Cell]:
    return {
        "commit": _told(["git", "rev-parse", "--short", "HEAD"]) or "absent",
        "python": platform.python_version(),
        "CUDA of torch": torch.version.cuda or "absent",
        **{name: _version(name) for name in LIBRARIES},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
