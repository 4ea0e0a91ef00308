"""The model here beside `transformers.ModernBertForMaskedLM`, with the same weights and text.

In: sizes, thetas, lengths of documents. Here the documents are one pack; there each is computed
alone, since packing through position ids leaks from document to document in transformers' sdpa.
Out: how far logits, loss and gradients lie apart, each relative to the size of what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import ModernBertConfig, ModernBertForMaskedLM

from trainer.convert.to_transformers import config_json
from trainer.initialise import build
from trainer.model import ModelConfig, ModernBert, Theta

MASK_RATE = 0.3
LOGITS_AT = 512  # positions of the pack whose logits are compared; all of a shorter one
IGNORED = -100


class Difference(NamedTuple):
    """Relative differences: each is rounding where the two models are one function."""

    logits: float  # the largest difference, of the largest logit
    loss: float
    gradient: float  # ||here - there|| / ||there|| of the parameter where it is largest
    of: str  # that parameter's name


class Text(NamedTuple):
    """A pack, and which of its tokens are asked for."""

    ids_T: Tensor
    shown_T: Tensor  # the targets masked
    labels_T: Tensor  # the targets' ids, elsewhere IGNORED
    targets_M: Tensor  # positions
    compared_L: Tensor  # positions


def compare(config: ModelConfig, theta: Theta, lengths: Sequence[int]) -> Difference:
    """Both models in fp32, without dropout, on one pack of documents of these lengths."""
    text = _text(lengths, config)
    model = _lively(build(config, 0))
    theirs = _peer(model, theta)
    loss, logits_LV = _here(model, theta, lengths, text)

    total, apart, largest = 0.0, 0.0, 0.0
    first = 0
    for shown, labels in zip(
        text.shown_T.split(list(lengths)), text.labels_T.split(list(lengths)), strict=True
    ):
        num_targets = int((labels != IGNORED).sum())
        out = theirs(input_ids=shown[None], labels=labels[None] if num_targets else None)
        if num_targets:
            part = out.loss * num_targets  # its loss is the mean over labels that are not ignored
            total += part.item()
            part.backward()
        compared = (text.compared_L >= first) & (text.compared_L < first + len(shown))
        expected = out.logits[0].detach()[text.compared_L[compared] - first]
        if len(expected):
            apart = max(apart, (logits_LV[compared] - expected).abs().max().item())
            largest = max(largest, expected.abs().max().item())
        first += len(shown)

    gradient, name = max(_gradients(model, theirs))
    return Difference(apart / largest, abs(loss / total - 1), gradient, name)


def _text(lengths: Sequence[int], config: ModelConfig) -> Text:
    generator = torch.Generator().manual_seed(0)
    ids_T = torch.randint(5, config.vocab_size, (sum(lengths),), generator=generator)
    order = torch.randperm(len(ids_T), generator=generator)
    targets_M = order[: max(1, int(MASK_RATE * len(ids_T)))].sort().values
    return Text(
        ids_T,
        ids_T.index_fill(0, targets_M, config.mask_id),
        torch.full_like(ids_T, IGNORED).index_copy(0, targets_M, ids_T[targets_M]),
        targets_M,
        order[:LOGITS_AT].sort().values,
    )


def _lively(model: ModernBert) -> ModernBert:
    """Weights large enough that attention, gates and norms matter, as in a trained model.

    As initialised it attends evenly and adds little: a wrong window or angle would hardly show.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim == 2 and "tok_embeddings" not in name:
                scale = 1.5 if name.endswith("Wqkv.weight") else 0.7
                p.copy_(noise * scale * p.shape[1] ** -0.5)
            else:
                p.add_(noise, alpha=0.2)
    return model


def _peer(model: ModernBert, theta: Theta) -> ModernBertForMaskedLM:
    written = ModernBertConfig.from_dict(config_json(model.config, theta, torch.float32))
    theirs = ModernBertForMaskedLM._from_config(written, attn_implementation="sdpa")
    theirs.load_state_dict(model.state_dict(), strict=True)
    return theirs.eval()


def _here(
    model: ModernBert, theta: Theta, lengths: Sequence[int], text: Text
) -> tuple[float, Tensor]:
    """The summed loss, its gradients left in the parameters, and logits [L, V]."""
    positions_T = torch.cat([torch.arange(n) for n in lengths])
    bounds = torch.tensor([0, *lengths]).cumsum(0).int()
    pack = text.shown_T, positions_T, bounds, model.config.max_position
    loss = model(*pack, text.targets_M, text.ids_T[text.targets_M], theta)
    loss.backward()
    with torch.no_grad():
        return loss.item(), model.logits(*pack, text.compared_L, theta)


def _gradients(model: ModernBert, theirs: ModernBertForMaskedLM) -> list[tuple[float, str]]:
    """How far the gradients of each parameter lie apart; both models have the same parameters."""
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    found = []
    for name, parameter in model.named_parameters():
        got, want = parameter.grad, expected.pop(name)
        found.append((((got - want).norm() / want.norm()).item(), name))
    assert not expected, f"transformers has more parameters: {sorted(expected)}"
    return found
