"""The text of the check: packs as the trainer has them, and the same documents padded.

Lengths are log-normal (median 400 tokens, log-spread 1.1, mean 730), cut to rows and packed as the
trainer does; ids are log-uniform (Zipf's law), masked as in training. The few tokens that a pack
lacks are a last document of padding without targets, so that all packs have one shape; they count
as no tokens.

Shapes: T tokens of a pack, M targets, B documents of a batch, L its longest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from schemas.rows import I64, cut
from trainer.mask import Masked, mask
from trainer.pack import fit

MEDIAN, SPREAD = 400, 1.1
DRAWN = 8  # packs for each that is used
IGNORED = -100


class Phase(NamedTuple):
    """What a phase of mmBERT asks of a step."""

    name: str
    context: int
    mask_rate: float
    theta: float


class Special(NamedTuple):
    """The ids of mmBERT's tokenizer (schemas.seal.SpecialIds needs pydantic)."""

    pad: int = 0
    eos: int = 1
    bos: int = 2
    unk: int = 3
    mask: int = 4

    def ids(self) -> tuple[int, ...]:
        return tuple(self)


class Packing(NamedTuple):
    """As in schemas.manifest."""

    pack_tokens: int
    max_pieces: int = 4096


class Padded(NamedTuple):
    ids_BL: Tensor
    seen_BL: Tensor
    labels_BL: Tensor
    num_targets: int


@dataclass(frozen=True)
class Pack:
    rows: tuple[Masked, ...]
    inputs: tuple[Tensor, Tensor, Tensor, int, Tensor, Tensor]  # as the model takes them

    @property
    def lengths(self) -> I64:
        return np.array([row.ids.size for row in self.rows])

    @property
    def num_tokens(self) -> int:
        return int(self.lengths.sum())

    @property
    def num_targets(self) -> int:
        return sum(row.targets.size for row in self.rows)


def draw(
    phase: Phase, pack_tokens: int, vocab_size: int, num_packs: int, device: torch.device
) -> list[Pack]:
    """The first of a window's packs; the last ones are left open."""
    numbers = np.random.default_rng(0)
    tokens = DRAWN * num_packs * pack_tokens
    mean = MEDIAN * np.exp(SPREAD**2 / 2)
    documents = np.exp(numbers.normal(np.log(MEDIAN), SPREAD, int(tokens / mean) + 1))
    documents = documents.astype(np.int64).clip(1)
    keys = numbers.integers(1 << 62, size=documents.size).astype(np.uint64)
    lengths = cut(documents, phase.context, keys)[2] + 2  # BOS and EOS
    lengths = numbers.permutation(lengths)
    of_row, _ = fit(lengths, Packing(pack_tokens))
    packs = []
    for number in range(num_packs):
        rows = [_row(numbers, int(n), phase, vocab_size) for n in lengths[of_row == number]]
        packs.append(Pack(tuple(rows), _packed(rows, phase.context, pack_tokens, device)))
    return packs


def padded(rows: list[Masked], device: torch.device) -> Padded:
    """One batch, as long as its longest document."""
    shape = len(rows), max(row.ids.size for row in rows)
    ids, seen = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    labels = np.full(shape, IGNORED)
    for place, row in enumerate(rows):
        ids[place, : row.ids.size] = row.ids
        seen[place, : row.ids.size] = 1
        labels[place, row.positions] = row.targets
    ids_BL, seen_BL, labels_BL = (torch.from_numpy(x).to(device) for x in (ids, seen, labels))
    return Padded(ids_BL, seen_BL, labels_BL, sum(row.targets.size for row in rows))


def batches(pack: Pack, at_most: int, by_length: bool) -> list[list[Masked]]:
    """The documents of a pack in batches of at most that many tokens, padding counted."""
    rows = sorted(pack.rows, key=lambda row: row.ids.size) if by_length else list(pack.rows)
    found: list[list[Masked]] = []
    longest = 0
    for row in rows:
        longest = max(longest, row.ids.size)
        if found and (len(found[-1]) + 1) * longest <= at_most:
            found[-1].append(row)
        else:
            found.append([row])
            longest = row.ids.size
    return found


def _row(numbers: np.random.Generator, length: int, phase: Phase, vocab_size: int) -> Masked:
    special = Special()
    first = len(special)
    spread = (vocab_size - first) ** numbers.random(length - 2)
    text = first - 1 + np.minimum(spread.astype(np.int64), vocab_size - first)
    ids = np.concatenate([[special.bos], text, [special.eos]])
    key = int(numbers.integers(1 << 62))
    return mask(ids, length - 2, phase.mask_rate, key, vocab_size, special)


def _packed(
    rows: list[Masked], context: int, pack_tokens: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, int, Tensor, Tensor]:
    sizes = np.array([row.ids.size for row in rows])
    starts = np.cumsum(sizes) - sizes
    rest = pack_tokens - int(sizes.sum())
    assert rest <= context, "a pack that was left open"
    ids = np.concatenate([*(row.ids for row in rows), np.full(rest, Special().pad)])
    bounds = np.concatenate([[0], np.cumsum(np.append(sizes, rest))]).astype(np.int32)
    positions = np.arange(pack_tokens) - np.repeat(bounds[:-1], np.diff(bounds))
    at = np.concatenate([row.positions + start for row, start in zip(rows, starts, strict=True)])
    targets = np.concatenate([row.targets for row in rows])
    ids_T, positions_T, bounds_P, at_M, targets_M = (
        torch.from_numpy(x).to(device) for x in (ids, positions, bounds, at, targets)
    )
    return ids_T, positions_T, bounds_P, context, at_M, targets_M
