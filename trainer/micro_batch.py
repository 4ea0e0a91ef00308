"""What the model is given: one pack, or a few held-out rows, masked and on the device.

Shapes: T tokens, P pieces, M targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.seal import SpecialIds
from trainer.mask import Masked
from trainer.phase import Pack


class MicroBatch(NamedTuple):
    """In the order in which the model takes it."""

    ids_T: Tensor
    positions_T: Tensor
    cu_seqlens: Tensor  # [P + 1] int32
    max_seqlen: int  # a bound, the same for all of a phase
    target_positions_M: Tensor
    target_ids_M: Tensor


def of_pack(pack: Pack, masked: Masked, max_seqlen: int, device: torch.device) -> MicroBatch:
    return _on_device(masked, pack.positions, pack.cu_seqlens, max_seqlen, device)


def of_rows(rows: Sequence[Masked], max_seqlen: int, device: torch.device) -> MicroBatch:
    """Rows laid end to end."""
    lengths = np.array([row.ids.size for row in rows])
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    joined = Masked(
        np.concatenate([row.ids for row in rows]),
        np.concatenate([row.positions + at for row, at in zip(rows, bounds, strict=False)]),
        np.concatenate([row.targets for row in rows]),
    )
    positions = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
    return _on_device(joined, positions, bounds.astype(np.int32), max_seqlen, device)


def empty(special: SpecialIds, max_seqlen: int, device: torch.device) -> MicroBatch:
    """A pack without targets: its loss is 0, and it reaches every parameter, as DDP needs."""
    none = np.empty(0, np.int64)
    return of_rows([Masked(np.array([special.bos, special.eos]), none, none)], max_seqlen, device)


def _on_device(
    masked: Masked,
    positions: NDArray[np.int64],
    cu_seqlens: NDArray[np.int32],
    max_seqlen: int,
    device: torch.device,
) -> MicroBatch:
    def put(array: NDArray[np.int64] | NDArray[np.int32]) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    return MicroBatch(
        put(masked.ids),
        put(positions),
        put(cu_seqlens),
        max_seqlen,
        put(masked.positions),
        put(masked.targets),
    )
