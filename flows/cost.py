"""What a plan costs in disk and hours. Every line is a guess; the constants are its assumptions.

    shards      BYTES_PER_TOKEN * tokens of whole strata; while building as much again for spills
    build       bytes of raw text on disk / BUILD_BYTES_PER_S, each worker
    training    operations of a token (trainer/flops.py) * budget / operations a second

A GPU is taken for an H100 at MFU of its peak: mmBERT's own wall times come to 19 % (small, 8 H100
for about 10 days) and 11 % (base, about 40 days, restarts included).
"""

from __future__ import annotations

from collections.abc import Iterable

from flows.job import Profile
from schemas.recipe import Recipe
from trainer.flops import flops_per_token
from trainer.peaks import data_sheet_peak

BYTES_PER_TOKEN = 4  # of a shard
BUILD_BYTES_PER_S = 0.25e6  # on disk, one process
CORE_OPERATIONS_PER_S = 55e9  # one core, bfloat16
GPU = "H100"
MFU = 0.20
DEFAULT_VOCABULARY = 256_000  # where a tokenizer is read: the published one's


def operations(recipe: Recipe, phases: Iterable[str], vocab_size: int | None = None) -> float:
    """Floating-point operations that the training of some phases needs.

    `vocab_size` is that of the tokenizer, where it is known.
    """
    train = recipe.tokenizer.train
    vocab_size = vocab_size or (train.vocab_size if train else DEFAULT_VOCABULARY)
    return sum(
        recipe.phases[name].budget_tokens
        * flops_per_token(recipe.model, vocab_size, recipe.phases[name])
        for name in phases
    )


def gpu_peak_per_s() -> float:
    """Operations a second of the GPU that is assumed, by its data sheet."""
    peak = data_sheet_peak(f"NVIDIA {GPU}")
    assert peak is not None
    return peak


def gpu_hours(num_operations: float) -> float:
    """Of one GPU, as assumed above."""
    return num_operations / (gpu_peak_per_s() * MFU) / 3600


def build_seconds(num_bytes: int) -> float:
    """Of one process, for raw text of `num_bytes` on disk."""
    return num_bytes / BUILD_BYTES_PER_S


def seconds_here(num_operations: float, num_bytes: int, profile: Profile) -> float:
    """To build and to train where a profile says."""
    num_processes = profile.train.num_hosts * profile.num_processes
    if profile.gpus_of_a_host:
        speed = num_processes * gpu_peak_per_s() * MFU
    else:
        speed = num_processes * profile.num_threads * CORE_OPERATIONS_PER_S
    return build_seconds(num_bytes) / profile.build.count + num_operations / speed
