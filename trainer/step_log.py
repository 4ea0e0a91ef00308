"""The figures of each step, read one step late: checked, and written as a line of the log.

In: float64 [4] on the device: the sum of cross-entropies, the wishes to stop and to save (all
three summed over the ranks), and the gradient norm. Out: a line, and the wishes, which every rank
reads alike. Raises TrainingFailure for a step that was not finite.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from torch import Tensor

from trainer.checkpoint import Point
from trainer.failure import LateReading, TrainingFailure
from trainer.journal import Lines
from trainer.phase import Batch


class Wish(NamedTuple):
    stop: bool = False
    save: bool = False


class _Pending(NamedTuple):
    point: Point  # after the step
    batch: Batch
    lr: float
    seconds: float
    reading: LateReading


class StepLog:
    def __init__(self, log: Lines, budget_tokens: int, pack_tokens: int, clock: float) -> None:
        """`clock` is that of the first step to come, in tokens."""
        self._log = log
        self._budget = budget_tokens
        self._pack_tokens = pack_tokens
        self._first_clock = clock
        self._began = self._last = time.perf_counter()
        self._pending: _Pending | None = None

    def put(self, point: Point, batch: Batch, lr: float, figures: Tensor) -> Wish:
        """Take a step's figures; returns the wishes of the step before it."""
        # Launch to launch: with one step in flight, this is the time that a step takes.
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        before = self._pending
        self._pending = _Pending(point, batch, lr, seconds, LateReading(figures))
        return self._tell(before) if before else Wish()

    def flush(self) -> None:
        """Read the step in flight; before anything is done with the weights."""
        if self._pending:
            self._tell(self._pending)
            self._pending = None

    def pause(self) -> None:
        """What took time until now was no step."""
        self._last = time.perf_counter()

    def _tell(self, step: _Pending) -> Wish:
        point, batch = step.point, step.batch
        nats, stop, save, norm = step.reading.read()
        if not math.isfinite(nats) or not math.isfinite(norm):
            raise TrainingFailure(
                f"phase {point.phase}, step {point.step}: the loss is {nats / batch.num_targets} "
                f"and the gradient norm {norm} on packs {batch.first.window}:{batch.first.pack} up "
                f"to {batch.after.window}:{batch.after.pack} (window:pack); nothing of it was "
                "saved: lower the phase's learning_rate, or see what these packs hold with "
                "trainer.phase.Phase"
            )
        clock_per_s = (point.clock_tokens - self._first_clock) / (self._last - self._began)
        self._log.append(
            {
                "kind": "step",
                "phase": point.phase,
                "step": point.step,
                "window": batch.first.window,
                "pack": batch.first.pack,
                "tokens": round(point.clock_tokens),
                "loss": nats / batch.num_targets,
                "lr": step.lr,
                "batch_packs": batch.num_packs,
                "grad_norm": norm,
                "tokens_per_s": round(batch.tokens / step.seconds, 1),
                "packing": round(batch.tokens / (batch.num_packs * self._pack_tokens), 5),
                "eta_s": round((self._budget - point.clock_tokens) / clock_per_s, 1),
            }
        )
        return Wish(stop > 0, save > 0)
