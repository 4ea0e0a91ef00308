"""The ranks of a training process: who am I, on which device, and what all ranks agree on.

Started by torchrun, RANK and WORLD_SIZE say it; started alone, the world is one rank and nothing
here costs anything. Tensors on a CPU travel by gloo, those on a GPU by NCCL
(`cpu:gloo,cuda:nccl`).

Two groups: the default one fails after 45 s, so that a dead rank ends all within a minute, torchrun
taking some ten seconds to end the others; the patient one is for waits of known slowness (a
checkpoint, an export), where a rank that dies still shows at once, because its connection closes. A
host that loses its power closes none: in such a wait it shows after two hours.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.failure import TrainingFailure

TIMEOUT = timedelta(seconds=45)
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Ranks:
    """This process among `world` others."""

    rank: int
    world: int
    device: torch.device
    patient: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over the ranks."""
        if self.world == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)

    def sum(self, values: Tensor) -> Tensor:
        """`values` summed over the ranks, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until every rank is here, however long one of them takes."""
        if self.world > 1:
            dist.barrier(self.patient)

    def require_equal(self, digest: str, what: str) -> None:
        """TrainingFailure on every rank when the ranks hold different digests (hexadecimal)."""
        if self.world == 1:
            return
        mine = torch.frombuffer(bytearray.fromhex(digest), dtype=torch.uint8)
        theirs = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(theirs, mine)
        different = [r for r, other in enumerate(theirs) if not torch.equal(other, theirs[0])]
        if different:
            raise TrainingFailure(
                f"{what} differs between rank 0 and rank {different[0]}: every rank must read the "
                "same store with the same version of this program"
            )


def join(device: str | None = None) -> Ranks:
    """Meet the other ranks; `device` is "cpu", "cuda", or None for a GPU where there is one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    local_rank = os.environ.get("LOCAL_RANK", "0")
    place = torch.device(f"cuda:{local_rank}" if kind == "cuda" else kind)
    if kind == "cuda":
        torch.cuda.set_device(place)
    if world == 1:
        return Ranks(0, 1, place)
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    patient = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(patient, dist.ProcessGroup)
    return Ranks(rank, world, place, patient)


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def no_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Backward inside adds to this rank's gradients and sends nothing."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def tells_of_a_dead_rank(error: RuntimeError) -> bool:
    """Whether an error is the communicator's: a connection that closed, or a time that ran out."""
    if isinstance(error, dist.DistError):
        return True
    words = ("gloo", "Connection closed", "Connection reset", "NCCL", "Timed out")
    return any(word in str(error) for word in words)
