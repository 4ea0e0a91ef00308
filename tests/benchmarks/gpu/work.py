"""What is measured: both published sizes in the three kinds of phase, and what makes a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.benchmarks.gpu.cells import Bench
from tests.benchmarks.gpu.inputs import Pack, Phase, draw
from trainer.flops import step_flops
from trainer.initialise import build
from trainer.model import ModelConfig, ModernBert

SIZES = {
    "small": ModelConfig(256_000, 384, 22, 6, 1152),
    "base": ModelConfig(256_000, 768, 22, 12, 1152),
}
PHASES = (
    Phase("1,024, 30 %", 1024, 0.30, 10_000.0),
    Phase("8,192, 15 %", 8192, 0.15, 160_000.0),
    Phase("8,192, 5 %", 8192, 0.05, 160_000.0),
)
PACK_TOKENS = 49_152
NUM_PACKS = 4

TINY_SIZES = {"tiny": ModelConfig(512, 64, 2, 2, 96)}
TINY_PHASES = (Phase("64, 30 %", 64, 0.30, 10_000.0),)
TINY_PACK_TOKENS = 512


@dataclass(frozen=True)
class Work:
    """One model in one phase: all ways of doing a step are given the same weights and packs."""

    size: str
    config: ModelConfig
    phase: Phase
    packs: list[Pack]
    weights: dict[str, Tensor]

    @property
    def title(self) -> str:
        return f"{self.size}, {self.phase.name}"

    @property
    def num_tokens(self) -> float:
        """Of a pack on average."""
        return sum(pack.num_tokens for pack in self.packs) / len(self.packs)

    @property
    def flops(self) -> float:
        """Model FLOPs of a pack on average."""
        config = self.config
        each = [step_flops(config, config.vocab_size, p.lengths, p.num_targets) for p in self.packs]
        return sum(each) / len(each)


def works(bench: Bench) -> list[Work]:
    """Every size in every phase."""
    found = []
    pack_tokens = TINY_PACK_TOKENS if bench.tiny else PACK_TOKENS
    for size, config in (TINY_SIZES if bench.tiny else SIZES).items():
        weights = build(config, 0).state_dict()
        for phase in TINY_PHASES if bench.tiny else PHASES:
            packs = draw(phase, pack_tokens, config.vocab_size, NUM_PACKS, bench.device)
            found.append(Work(size, config, phase, packs, weights))
    return found


def fresh(work: Work, device: torch.device) -> ModernBert:
    """A model with the work's weights."""
    with torch.device("meta"):
        model = ModernBert(work.config)
    model.to_empty(device=device)
    model.tie_weights()
    model.load_state_dict(work.weights)
    return model


def optimiser_of(model: nn.Module) -> torch.optim.Optimizer:
    """The trainer's StableAdamW; torch's fused AdamW where torch-optimi is absent."""
    try:
        from trainer.optimiser import build_optimiser
    except ImportError:
        return torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), fused=True)
    return build_optimiser(model, lr=1e-5, weight_decay=0.0)
