"""One training step two ways: packed, as the trainer does, and padded, as transformers does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import ModernBertConfig, ModernBertForMaskedLM

from trainer import micro_batch
from trainer.convert.to_transformers import config_json
from trainer.mask import Masked
from trainer.model import ModelConfig, ModernBert, Theta
from trainer.optimiser import build_optimiser

THETA = Theta(10_000.0, 10_000.0)
IGNORED = -100

Batch = Sequence[Masked]
Step = Callable[[Batch], float]  # forward, backward and optimiser; returns the loss in nats


def packed(model: ModernBert, precision: torch.dtype, context: int) -> Step:
    """Dropout as in training, but in the first step."""
    optimiser, steps = _optimiser(model), 0

    def step(batch: Batch) -> float:
        nonlocal steps
        inputs = micro_batch.of_rows(batch, context, torch.device("cpu"))
        with _autocast(precision):
            summed: Tensor = model(*inputs, THETA, dropout_key=steps or None)
        steps += 1
        return _learn(summed / inputs.target_ids_M.numel(), optimiser)

    return step


def padded(model: ModernBertForMaskedLM, precision: torch.dtype) -> Step:
    """Each batch padded to its longest document."""
    optimiser = _optimiser(model)

    def step(batch: Batch) -> float:
        shape = len(batch), max(row.ids.size for row in batch)
        ids, seen = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        labels = np.full(shape, IGNORED)
        for place, row in enumerate(batch):
            ids[place, : row.ids.size] = row.ids
            seen[place, : row.ids.size] = 1
            labels[place, row.positions] = row.targets
        with _autocast(precision):
            loss: Tensor = model(
                input_ids=torch.from_numpy(ids),
                attention_mask=torch.from_numpy(seen),
                labels=torch.from_numpy(labels),
            ).loss
        return _learn(loss, optimiser)

    return step


def peer(config: ModelConfig) -> ModernBertForMaskedLM:
    """transformers' model of the same sizes, with sdpa and its sparse head."""
    written = config_json(config, THETA, torch.float32) | {"sparse_prediction": True}
    theirs = ModernBertConfig.from_dict(written)
    return ModernBertForMaskedLM._from_config(theirs, attn_implementation="sdpa").train()


def _optimiser(model: torch.nn.Module) -> Optimizer:
    return build_optimiser(model, lr=1e-4, weight_decay=0.0)


def _autocast(precision: torch.dtype) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16)


def _learn(loss: Tensor, optimiser: Optimizer) -> float:
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    return loss.item()
