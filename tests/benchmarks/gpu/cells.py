"""What every part of the check measures with: a device, a time limit, cells that may come to grief.

A cell gives a figure or says in words why there is none, and the next one goes on: "absent: why"
(not installed, no time left), "out of memory", or "failed: why", which ends the check with exit 1.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch

T = TypeVar("T")

WARM_UP, REPEATS = 3, 10
SECONDS = 3.0  # a measurement repeats less when it would take longer


class Absent(Exception):
    """What a cell needs is not here; the message says what."""


@dataclass
class Bench:
    """The device, and how long the check may take; `tiny` sizes test the check itself."""

    device: torch.device
    tiny: bool
    seconds: float
    begun: float = field(default_factory=time.monotonic)
    failures: list[str] = field(default_factory=list)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def cell(self, name: str, job: Callable[[], T], takes_s: float = 0.0) -> T | str:
        """What the job returns, or why there is nothing; `takes_s` is about how long it takes."""
        if time.monotonic() + takes_s > self.begun + self.seconds:
            return "absent: no time left"
        try:
            return job()
        except Absent as reason:
            return f"absent: {_line(reason)}"
        except torch.OutOfMemoryError:
            return "out of memory"
        except Exception as error:  # whatever a library raises is this cell's result
            traceback.print_exc(file=sys.stderr)
            why = f"{type(error).__name__}: {_line(error)}"
            self.failures.append(f"{name}: {why}")
            return f"failed: {why}"
        finally:
            self.free()

    def free(self) -> None:
        gc.collect()
        if self.cuda:
            # After an error on the device this raises the same again; the cell has told it.
            with contextlib.suppress(RuntimeError):
                torch.cuda.empty_cache()

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def seconds_of(self, work: Callable[[], object], repeats: int = REPEATS) -> float:
        """The median of some runs after warming up; none waits for the one before it to end."""
        for _ in range(1 if self.tiny else WARM_UP):
            once = self._seconds(work, 1)[0]
        return statistics.median(self._seconds(work, min(repeats, max(2, int(SECONDS / once)))))

    def _seconds(self, work: Callable[[], object], repeats: int) -> list[float]:
        """Each run's; on CUDA between events on the device, which the host does not wait for."""
        if not self.cuda:
            times = [time.perf_counter()]
            for _ in range(repeats):
                work()
                times.append(time.perf_counter())
            return [last - first for first, last in itertools.pairwise(times)]
        events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
        events[0].record()
        for event in events[1:]:
            work()
            event.record()
        torch.cuda.synchronize()
        return [first.elapsed_time(last) / 1e3 for first, last in itertools.pairwise(events)]

    def peak_gb(self) -> float:
        """Most memory held since `reset_peak`, in GB; NaN without CUDA."""
        return torch.cuda.max_memory_allocated() / 1e9 if self.cuda else float("nan")

    def reset_peak(self) -> None:
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()


def _line(reason: Exception) -> str:
    """The first of what libraries may say at length; it goes into a table."""
    return (str(reason).splitlines() or [""])[0][:160]
