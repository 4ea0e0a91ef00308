"""What the model is given: a pack or a part of one, or a few held-out rows, masked, on the device.

A pack that does not fit the memory of a device is cut between its pieces, which do not see each
other. Masks are drawn before, for the whole pack, so targets do not depend on the cut.

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

Pieces = tuple[int, int]  # the first of a part, and the first after it


class MicroBatch(NamedTuple):
    """In the order in which the model takes it."""

    ids_T: Tensor
    positions_T: Tensor
    cu_seqlens: Tensor  # [P + 1] int32
    max_seqlen: int  # a bound, the same for all of a phase
    target_positions_M: Tensor
    target_ids_M: Tensor


def cut(pack: Pack, most_tokens: int | None) -> list[Pieces]:
    """Its pieces in parts of at most so many tokens; a longer piece is alone. None: one part."""
    bounds, first, parts = pack.cu_seqlens, 0, []
    while first < pack.num_pieces:
        fitting = pack.num_pieces
        if most_tokens is not None:
            fitting = int(np.searchsorted(bounds, bounds[first] + most_tokens, side="right")) - 1
        parts.append((first, max(fitting, first + 1)))
        first = parts[-1][1]
    return parts


def of_pack(
    pack: Pack,
    masked: Masked,
    max_seqlen: int,
    device: torch.device,
    pieces: Pieces | None = None,
) -> MicroBatch:
    """A pack, or some of its pieces."""
    first, last = pieces or (0, pack.num_pieces)
    bounds = pack.cu_seqlens[first : last + 1]
    begin, end = bounds[[0, -1]].tolist()
    targets = slice(*np.searchsorted(masked.positions, [begin, end]).tolist())
    part = Masked(masked.ids[begin:end], masked.positions[targets] - begin, masked.targets[targets])
    return _on_device(part, pack.positions[begin:end], bounds - begin, max_seqlen, device)


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
    pins = device.type == "cuda"

    def put(array: NDArray[np.int64] | NDArray[np.int32]) -> Tensor:
        tensor = torch.from_numpy(array)
        # Only a copy from pinned memory lets the host go on; torch keeps it until it has ended.
        return tensor.pin_memory().to(device, non_blocking=True) if pins else tensor.to(device)

    return MicroBatch(
        put(masked.ids),
        put(positions),
        put(cu_seqlens),
        max_seqlen,
        put(masked.positions),
        put(masked.targets),
    )
