"""transformers' ModernBERT over the documents of a pack: sdpa, sparse head, padded batches.

A batch holds at most as many tokens as the pack, padding counted, and half of that while memory
lacks; gradients add up over the pack's batches. Same weights, targets, precision and optimiser; no
dropout, which transformers does not have after attention.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from tests.benchmarks.gpu.cells import Absent, Bench
from tests.benchmarks.gpu.inputs import Pack, Padded, batches, padded
from tests.benchmarks.gpu.work import NUM_PACKS, Work, optimiser_of


def step(bench: Bench, work: Work, by_length: bool) -> tuple[float, float, float]:
    """Seconds, peak GB and the first loss of the largest batches that memory holds."""
    at_most = work.packs[0].inputs[0].numel()
    while True:
        try:
            return _step(bench, work, by_length, at_most)
        except torch.OutOfMemoryError:
            if at_most < 2 * work.phase.context:
                raise
        at_most //= 2
        bench.free()


def _step(bench: Bench, work: Work, by_length: bool, at_most: int) -> tuple[float, float, float]:
    model = _model(work, bench.device)
    optimiser = optimiser_of(model)
    parts = [[padded(b, bench.device) for b in batches(p, at_most, by_length)] for p in work.packs]
    turn = itertools.count()

    def loss_of(batch: Padded, pack: Pack) -> Tensor:
        with bench.autocast():
            mean: Tensor = model(
                input_ids=batch.ids_BL, attention_mask=batch.seen_BL, labels=batch.labels_BL
            ).loss
        return mean * (batch.num_targets / pack.num_targets)

    def once() -> None:
        n = next(turn) % len(parts)
        for batch in parts[n]:
            loss_of(batch, work.packs[n]).backward()
        optimiser.step()
        optimiser.zero_grad()

    with torch.no_grad():
        first = sum(loss_of(batch, work.packs[0]).item() for batch in parts[0])
    bench.reset_peak()
    return bench.seconds_of(once, repeats=NUM_PACKS), bench.peak_gb(), first


def _model(work: Work, device: torch.device) -> nn.Module:
    try:
        from transformers import ModernBertConfig, ModernBertForMaskedLM
    except ImportError as error:
        raise Absent(f"transformers: {error}") from error
    config = work.config
    rope = {"rope_type": "default", "rope_theta": work.phase.theta}
    theirs = ModernBertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.intermediate_size,
        max_position_embeddings=config.max_position,
        pad_token_id=config.pad_id,
        eos_token_id=config.eos_id,
        bos_token_id=config.bos_id,
        sep_token_id=config.sep_id,
        cls_token_id=config.cls_id,
        sparse_prediction=True,
        rope_parameters={"full_attention": dict(rope), "sliding_attention": dict(rope)},
    )
    with torch.device(device):
        model = ModernBertForMaskedLM._from_config(theirs, attn_implementation="sdpa")
    model.load_state_dict(work.weights, strict=True)
    return model.train()
