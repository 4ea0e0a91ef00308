"""How training fails: loudly, on every rank, before a bad step can reach a checkpoint (I12).

The figures of a step (sum of cross-entropies, gradient norm, what the ranks ask for) stay on the
device and are read one step late, so that the device never waits for the host. A step whose
gradient norm is not finite has its gradients set to zero on the device, the same on every rank
because the norm is that of the summed gradients; when it is read, the run stops.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TrainingFailure(RuntimeError):
    """Training cannot go on: one sentence, exit code 1 on every rank."""


@torch.no_grad()
def defuse(model: nn.Module) -> Tensor:
    """The norm of all gradients, on the device; if it is not finite the gradients become 0."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    finite = torch.isfinite(norm)
    for gradient in gradients:
        gradient.masked_fill_(~finite, 0.0)
    return norm


class LateReading:
    """A small tensor on its way from the device: `read` waits for it alone, not for later work."""

    def __init__(self, values: Tensor) -> None:
        self._event = None
        if values.device.type == "cuda":
            self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._host = values

    def read(self) -> list[float]:
        if self._event is not None:
            self._event.synchronize()
        return self._host.tolist()
