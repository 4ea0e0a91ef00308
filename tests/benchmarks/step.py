"""A training step on the CPU, packed, beside transformers' ModernBERT on padded batches.

    real tokens (padding not counted) a CPU-second of forward, backward and optimiser

Same weights, documents, targets, optimiser and precision; one thread. The peer runs sdpa and its
sparse head, its batches padded to their longest document: of like length, as a perfect grouping of
very many documents gives them, and as documents come. All step in turn. The packed step alone drops
out (mmBERT's 0.1 after attention, which transformers lacks).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from schemas.rows import I64
from schemas.seal import SpecialIds
from tests.benchmarks.learn import Batch, Step, packed, padded, peer
from tests.benchmarks.measure import Table, cpu_s
from trainer.initialise import build
from trainer.mask import Masked, mask
from trainer.model import ModelConfig

VOCABULARY, CONTEXT, MASK_RATE = 8_192, 1_024, 0.3
DOCUMENT = 250, 1.0  # median and log-spread of a document's tokens, cut at the context
BATCH = 8  # documents a step
STEPS = 5
POOL = 64  # documents drawn for each that is used


def run(full: bool = False) -> list[Table]:
    """6 layers of 384, or with `full` mmBERT-small's 22; its vocabulary is cut to 8,192."""
    torch.set_num_threads(1)
    config = ModelConfig(VOCABULARY, 384, 22 if full else 6, 6, 1152)
    return [_measure(config, precision) for precision in (torch.float32, torch.bfloat16)]


def _measure(config: ModelConfig, precision: torch.dtype) -> Table:
    draw = np.random.default_rng(0)
    grouped = [[_row(draw, length) for length in batch] for batch in _lengths(draw)]
    comes = _as_they_come(draw, grouped)
    mine, theirs = build(config, 0), peer(config)
    theirs.load_state_dict(mine.state_dict(), strict=True)
    ours, padding = packed(mine, precision, CONTEXT), padded(theirs, precision)
    # The first step warms up; it is without dropout, so that its losses can be compared.
    difference = abs(ours(comes[0]) / padding(comes[0]) - 1)

    turns: list[tuple[str, Step, Sequence[Batch]]] = [
        ("packed", ours, comes),
        ("transformers, of like length", padding, grouped),
        ("transformers, as documents come", padding, comes),
    ]
    taken = dict.fromkeys((name for name, *_ in turns), 0.0)
    for place in range(STEPS):
        for name, step, batches in turns:
            begun = cpu_s()
            step(batches[place])
            taken[name] += cpu_s() - begun
    tokens = sum(row.ids.size for batch in comes for row in batch)
    fills = {name: _fill(batches) for name, _, batches in turns} | {"packed": 1.0}
    return Table(
        f"Training step, {config.num_layers} layers of {config.hidden_size}, {precision}",
        ("", "tokens a CPU-s", "not padding", "packed is x times it"),
        tuple(
            (name, tokens / cost, f"{100 * fills[name]:.0f} %", cost / taken["packed"])
            for name, cost in taken.items()
        ),
        (
            f"{tokens:,} tokens in {STEPS} steps of {BATCH} documents; losses of the first step "
            f"differ by {difference:.1g} of their value.",
        ),
    )


def _lengths(draw: np.random.Generator) -> list[list[int]]:
    """Batches of like length, spread evenly over a sorted pool of log-normal lengths."""
    median, spread = DOCUMENT
    pool = np.exp(draw.normal(np.log(median), spread, STEPS * POOL * BATCH))
    ordered = np.sort(pool.astype(int).clip(8, CONTEXT - 2)).reshape(STEPS, POOL, BATCH)
    return ordered[:, POOL // 2].tolist()


def _as_they_come(draw: np.random.Generator, grouped: Sequence[Batch]) -> list[Batch]:
    rows = [row for batch in grouped for row in batch]
    order = draw.permutation(len(rows)).reshape(STEPS, BATCH)
    return [[rows[place] for place in batch] for batch in order.tolist()]


def _row(draw: np.random.Generator, length: int) -> Masked:
    """Random tokens between BOS and EOS, masked as in training."""
    special = SpecialIds()
    text = draw.integers(max(special.ids()) + 1, VOCABULARY, length)
    ids: I64 = np.concatenate([[special.bos], text, [special.eos]])
    return mask(ids, length, MASK_RATE, int(draw.integers(1 << 62)), VOCABULARY, special)


def _fill(batches: Sequence[Batch]) -> float:
    """Real tokens in proportion to those that padding makes of them."""
    sizes = [[row.ids.size for row in batch] for batch in batches]
    return sum(map(sum, sizes)) / sum(len(size) * max(size) for size in sizes)
