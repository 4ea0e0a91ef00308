"""Model FLOPs: the floating-point operations that training needs, whoever computes them and how.

    forward and backward are 3 forwards; a multiply and an add are 2 operations, so
    layers      6 L (4 H^2 + 3 H I)         a token
    head        6 (H^2 + H V)               a target: only masked tokens reach it
    attention  12 H                         a pair of query and key, in each layer that looks at it
                                            (2 H for each of QK^T and PV)

A global layer looks at n^2 pairs of a document of n tokens, a local one at those with |i - j| <= w.
The look-up of embeddings, norms, rotations, softmax, dropout, the optimiser and what is computed
twice count nothing, as in the definition of model FLOPs utilisation (Chowdhery et al. 2022, PaLM,
appendix B; 6 operations a weight and token: Kaplan et al. 2020, section 2.1):

    MFU = model FLOPs of a step / (its seconds x ranks x the peak of a device)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.rows import I64

if TYPE_CHECKING:  # the GPU check runs where pydantic is not
    from schemas.recipe import ModelSettings, Phase


def local_pairs(lengths: I64, half_window: int) -> int:
    """Pairs (i, j) with |i - j| <= half_window inside documents of these lengths [d]."""
    reach = lengths.clip(max=half_window + 1) - 1  # the diagonals on one side
    return int((lengths * (2 * reach + 1) - reach * (reach + 1)).sum())


def step_flops(model: ModelSettings, vocab_size: int, lengths: I64, num_targets: int) -> float:
    """Of a step on rows of these lengths [r] (BOS and EOS counted) with that many targets."""
    num_global = -(-model.num_layers // model.global_every)
    pairs = num_global * int((lengths**2).sum())
    pairs += (model.num_layers - num_global) * local_pairs(lengths, model.local_window // 2)
    return (
        int(lengths.sum()) * _layers(model)
        + num_targets * _head(model, vocab_size)
        + 12.0 * model.hidden_size * pairs
    )


def flops_per_token(model: ModelSettings, vocab_size: int, phase: Phase) -> float:
    """A guess before there is data: rows of half the context, a row's share of targets masked."""
    row = phase.context / 2
    num_global = -(-model.num_layers // model.global_every)
    reach = min(row, model.local_window + 1)
    pairs = num_global * row + (model.num_layers - num_global) * reach
    head = phase.mask_rate * _head(model, vocab_size)
    return _layers(model) + head + 12.0 * model.hidden_size * pairs


def num_parameters(model: ModelSettings, vocab_size: int) -> int:
    """Of the masked language model: embedding (tied to the decoder), layers, head, decoder bias."""
    hidden = model.hidden_size
    norms = 2 * model.num_layers - 1 + 2  # layer 0 has one; one after the embedding, one at the end
    layers = model.num_layers * _layer(model) + norms * hidden
    return vocab_size * hidden + layers + hidden**2 + hidden + vocab_size


def _layer(model: ModelSettings) -> int:
    """Weights of the matrices of a layer."""
    return 4 * model.hidden_size**2 + 3 * model.hidden_size * model.intermediate_size


def _layers(model: ModelSettings) -> float:
    return 6.0 * model.num_layers * _layer(model)


def _head(model: ModelSettings, vocab_size: int) -> float:
    return 6.0 * model.hidden_size * (model.hidden_size + vocab_size)
