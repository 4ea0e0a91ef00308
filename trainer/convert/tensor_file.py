"""A safetensors file, a tensor at a time: what it holds, and one like it without holding it whole.

    8 bytes   length of the header, little-endian
    header    JSON: name -> {"dtype", "shape", "data_offsets"}, and "__metadata__"
    data      the tensors, where the offsets say

Read a `Layout`, then write another file with it from tensors that come one by one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from schemas.errors import UserError


@dataclass(frozen=True)
class Layout:
    """`header` is verbatim, its length included; names stand in the order of their data."""

    header: bytes
    dtypes: dict[str, str]
    shapes: dict[str, tuple[int, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.shapes)

    @property
    def num_values(self) -> int:
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())


def read_layout(path: Path) -> Layout:
    """The header of a file; UserError when there is none."""
    try:
        with path.open("rb") as file:
            length = file.read(8)
            header = file.read(int.from_bytes(length, "little"))
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        ordered = sorted(entries.items(), key=lambda entry: entry[1]["data_offsets"])
        return Layout(
            length + header,
            {name: entry["dtype"] for name, entry in ordered},
            {name: tuple(entry["shape"]) for name, entry in ordered},
        )
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not exist; rewrite the model as safetensors with "
            f"`mmbert export {path.parent} DIRECTORY`"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is no safetensors file; fetch or export it again") from error


def write_like(layout: Layout, path: Path, tensors: Iterable[Tensor]) -> None:
    """A file with this header whose tensors come in the order of `layout.names`."""
    with path.open("wb") as file:
        file.write(layout.header)
        for tensor in tensors:
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
