"""What a training runs on, and the most that it could compute: the denominator of MFU.

    {"kind": "machine", phase, step, device, ranks, threads, precision, peak_flops_per_s,
     peak_origin, versions}                            one line a phase, and one more a resume

The peak is that of one rank's device: for GPUs of `peaks.csv` the dense bfloat16 figure of the
vendor's data sheet; for every other device, and in fp32, the best of a quarter second of matrix
products in the precision of the training, measured in this process ("measured": on a CPU the other
ranks may compute meanwhile, so it is what one rank gets, not what the chip could do).
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

from schemas.digest import Json
from trainer.distributed import Ranks
from trainer.peaks import data_sheet_peak

MEASURED_S = 0.25
_SIDE = {"cpu": 512, "cuda": 4096}  # of the square matrices
_PACKAGES = ("mmbert", "torch", "transformers", "torch-optimi", "numpy", "pyarrow")

Origin = Literal["data sheet", "measured"]


@dataclass(frozen=True)
class Machine:
    device: str
    ranks: int
    threads: int  # of a rank
    precision: str
    peak_flops_per_s: float  # of a rank
    peak_origin: Origin
    versions: dict[str, str]

    def mfu(self, flops: float, seconds: float) -> float:
        return flops / (seconds * self.ranks * self.peak_flops_per_s)

    def line(self, phase: str, step: int) -> dict[str, Json]:
        return {
            "kind": "machine",
            "phase": phase,
            "step": step,
            "device": self.device,
            "ranks": self.ranks,
            "threads": self.threads,
            "precision": self.precision,
            "peak_flops_per_s": self.peak_flops_per_s,
            "peak_origin": self.peak_origin,
            "versions": self.versions,
        }


def machine(ranks: Ranks, precision: str) -> Machine:
    """The machine of this process; measured once, MEASURED_S seconds, where no table knows it."""
    device = _device_name(ranks.device)
    peak, origin = _peak(ranks.device, device, precision)
    return Machine(
        device=device,
        ranks=ranks.world,
        threads=torch.get_num_threads(),
        precision=precision,
        peak_flops_per_s=peak,
        peak_origin=origin,
        versions={"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
    )


@lru_cache
def _peak(device: torch.device, name: str, precision: str) -> tuple[float, Origin]:
    known = data_sheet_peak(name) if precision == "bf16" else None
    return (known, "data sheet") if known else (_measure(device, precision), "measured")


def _measure(device: torch.device, precision: str) -> float:
    """Operations a second of the best matrix product within MEASURED_S."""
    side = _SIDE.get(device.type, 1024)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.ones(side, side, dtype=dtype, device=device)
    best, end = float("inf"), time.perf_counter() + MEASURED_S
    while time.perf_counter() < end or best == float("inf"):
        began = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2.0 * side**3 / best


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
