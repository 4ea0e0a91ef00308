"""The peak of known GPUs: dense bfloat16, as their vendors' data sheets say it (peaks.csv)."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path


def data_sheet_peak(device: str) -> float | None:
    """Dense bfloat16 operations a second of a whole GPU by the name its driver gives, or None."""
    if " MIG " in device:  # a part of one
        return None
    names = [name for name in _data_sheets() if f"{device} ".startswith((f"{name} ", f"{name}-"))]
    return _data_sheets()[max(names, key=len)] if names else None


@lru_cache(maxsize=1)
def _data_sheets() -> dict[str, float]:
    with Path(__file__).with_name("peaks.csv").open(encoding="utf-8", newline="") as lines:
        return {row["device"]: float(row["bf16_tflops"]) * 1e12 for row in csv.DictReader(lines)}
