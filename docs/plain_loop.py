"""A plain PyTorch loop over the packs of a phase.

    python docs/plain_loop.py MANIFEST STEPS

A pack is t tokens in p pieces, end to end and without padding: `ids` and `positions` [t],
`cu_seqlens` [p + 1]. No piece may see another, so attention gets a mask of each kind; on a GPU,
FlashAttention's varlen functions take `cu_seqlens` instead. Rank r of W reads `packs(r, W)`, and
a run that was stopped goes on with `packs(start=State(window, pack))`.
"""

import sys
from itertools import islice

import torch
from torch import Tensor
from transformers import ModernBertConfig, ModernBertForMaskedLM

from trainer.phase import BEGIN, Pack, Phase, State

NO_LABEL = -100


def inputs(phase: Phase, pack: Pack, half_window: int) -> dict[str, Tensor | dict[str, Tensor]]:
    """What the model takes: the pack as a batch of one, masked at the phase's rate."""
    masked = phase.mask(pack)
    labels = torch.full([pack.ids.size], NO_LABEL)
    labels[masked.positions] = torch.from_numpy(masked.targets)
    positions = torch.from_numpy(pack.positions)
    piece = (positions == 0).cumsum(0)
    same = piece[:, None] == piece
    near = (positions[:, None] - positions).abs() <= half_window
    return {
        "input_ids": torch.from_numpy(masked.ids)[None],
        "position_ids": positions[None],
        "attention_mask": {
            "full_attention": same[None, None],
            "sliding_attention": (same & near)[None, None],
        },
        "labels": labels[None],
    }


def train(url: str, steps: int, config: ModernBertConfig, start: State = BEGIN) -> list[float]:
    """The loss of each step."""
    phase, model = Phase(url), ModernBertForMaskedLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for pack in islice(phase.packs(start=start), steps):
        loss = model(**inputs(phase, pack, config.local_attention // 2)).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    sizes = ModernBertConfig(vocab_size=Phase(sys.argv[1]).manifest.vocab_size)
    print(train(sys.argv[1], int(sys.argv[2]), sizes))
