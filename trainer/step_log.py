"""The figures of each step, read one step late: checked, and written as a line of the log.

In: float64 [4] on the device: the sum of cross-entropies, the wishes to stop and to save (all
three summed over the ranks), and the gradient norm. Out: a line, and the wishes, which every rank
reads alike. Raises TrainingFailure for a step that was not finite.

    flops_per_s   model FLOPs of the global batch, from the true lengths of its rows and its true
                  number of targets (trainer/flops.py), over the time from launch to launch
    mfu           that, over the peak of all ranks (trainer/machine.py)
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
from torch import Tensor

from schemas.rows import I64
from trainer.checkpoint import Point
from trainer.failure import LateReading, TrainingFailure
from trainer.flops import step_flops
from trainer.machine import machine
from trainer.phase import Batch, Phase
from trainer.session import Session


class Wish(NamedTuple):
    stop: bool = False
    save: bool = False


class _Pending(NamedTuple):
    point: Point  # after the step
    batch: Batch
    lr: float
    flops: float
    seconds: float
    reading: LateReading


class StepLog:
    def __init__(self, session: Session, data: Phase, point: Point) -> None:
        """The steps of `data` from `point` on; says first what they run on."""
        self._log = session.log
        self._data = data
        self._model = session.run.model
        self._first = session.ranks.first
        self._machine = machine(session.ranks, session.run.optimiser.precision)
        self._log.append(self._machine.line(point.phase, point.step))
        self._first_clock = point.clock_tokens
        self._began = self._last = time.perf_counter()
        self._pending: _Pending | None = None

    def put(self, point: Point, batch: Batch, lr: float, figures: Tensor) -> Wish:
        """Take a step's figures; returns the wishes of the step before it."""
        # Launch to launch: with one step in flight, this is the time that a step takes.
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        # Only the first rank writes; the plans of this batch are at hand now, not a step later.
        flops = self._flops(batch) if self._first else 0.0
        before = self._pending
        self._pending = _Pending(point, batch, lr, flops, seconds, LateReading(figures))
        return self._tell(before) if before else Wish()

    def flush(self) -> None:
        """Read the step in flight; before anything is done with the weights."""
        if self._pending:
            self._tell(self._pending)
            self._pending = None

    def pause(self) -> None:
        """What took time until now was no step."""
        self._last = time.perf_counter()

    def _flops(self, batch: Batch) -> float:
        lengths = row_lengths(self._data, batch)
        return step_flops(self._model, self._data.manifest.vocab_size, lengths, batch.num_targets)

    def _tell(self, step: _Pending) -> Wish:
        point, batch = step.point, step.batch
        nats, stop, save, norm = step.reading.read()
        if not math.isfinite(nats) or not math.isfinite(norm):
            raise TrainingFailure(
                f"phase {point.phase}, step {point.step}: the loss is {nats / batch.num_targets} "
                f"and the gradient norm {norm} on packs {batch.first.window}:{batch.first.pack} up "
                f"to {batch.after.window}:{batch.after.pack} (window:pack); nothing of it was "
                "saved: lower the phase's learning_rate, or see what the step holds with "
                f"`mmbert trace RUN --phase {point.phase} --step {point.step}`"
            )
        manifest = self._data.manifest
        room = batch.num_packs * manifest.packing.pack_tokens
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
                "flops_per_s": float(f"{step.flops / step.seconds:.5g}"),
                "mfu": float(f"{self._machine.mfu(step.flops, step.seconds):.5g}"),
                "packing": round(batch.tokens / room, 5),
                "eta_s": round((manifest.budget_tokens - point.clock_tokens) / clock_per_s, 1),
            }
        )
        return Wish(stop > 0, save > 0)


def row_lengths(data: Phase, batch: Batch) -> I64:
    """Lengths [r] of the rows of a global batch, over all ranks; BOS and EOS counted."""
    parts = []
    for window in range(batch.first.window, batch.after.window + 1):
        if (window, 0) == (batch.after.window, batch.after.pack):
            break
        plan = data.plan(window)
        first = batch.first.pack if window == batch.first.window else 0
        last = batch.after.pack if window == batch.after.window else plan.num_packs
        parts.append(plan.length[plan.bounds[first] : plan.bounds[last]] + 2)
    return np.concatenate(parts)
