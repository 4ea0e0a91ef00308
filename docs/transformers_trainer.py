"""The packs of a phase in transformers' Trainer.

    python docs/transformers_trainer.py MANIFEST STEPS

A batch is one pack, masked as the phase says, its pieces padded to the longest: any attention
keeps them apart. One process: Trainer deals an IterableDataset out to ranks in a way of its own.
"""

import sys
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import IterableDataset
from transformers import ModernBertConfig, ModernBertForMaskedLM, Trainer, TrainingArguments

from trainer.phase import Pack, Phase

NO_LABEL = -100


def padded(phase: Phase, pack: Pack) -> dict[str, Tensor]:
    """`input_ids`, `attention_mask` and `labels` [pieces, longest]."""
    masked, labels = phase.mask(pack), torch.full([pack.ids.size], NO_LABEL)
    labels[masked.positions] = torch.from_numpy(masked.targets)
    columns = {
        "input_ids": (torch.from_numpy(masked.ids), phase.special.pad),
        "attention_mask": (torch.ones_like(labels), 0),
        "labels": (labels, NO_LABEL),
    }
    lengths = (pack.length + 2).tolist()  # with BOS and EOS
    return {
        name: pad_sequence(column.split(lengths), batch_first=True, padding_value=padding)
        for name, (column, padding) in columns.items()
    }


class Packs(IterableDataset[dict[str, Tensor]]):
    def __init__(self, phase: Phase):
        self.phase = phase

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (padded(self.phase, pack) for pack in self.phase.packs())


def train(url: str, steps: int, config: ModernBertConfig, folder: str) -> list[float]:
    """The loss of each step; checkpoints go to `folder`."""
    settings = TrainingArguments(
        folder, max_steps=steps, per_device_train_batch_size=1, logging_steps=1, report_to="none"
    )
    model, packs = ModernBertForMaskedLM(config), Packs(Phase(url))
    trainer = Trainer(model, settings, train_dataset=packs, data_collator=lambda batch: batch[0])
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


if __name__ == "__main__":
    sizes = ModernBertConfig(vocab_size=Phase(sys.argv[1]).manifest.vocab_size)
    print(train(sys.argv[1], int(sys.argv[2]), sizes, "trained"))
