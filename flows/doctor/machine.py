"""Cores, memory, GPUs, and the attention that a training would use, tried and not guessed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psutil

from flows.doctor.finding import Finding, ok, problem, warning
from schemas.figures import num_bytes

LITTLE_BYTES = 3_000_000_000  # less has the demo's training or a build worker killed
TORCH = "install torch for this machine's driver: https://pytorch.org/get-started"


def machine_findings() -> Iterator[Finding]:
    yield _memory()
    yield from _devices()


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = f"{cores} cores, {num_bytes(memory.available)} of {num_bytes(memory.total)} memory free"
    if memory.available < LITTLE_BYTES:
        return warning("machine", told, "end other programs, or set fewer workers in the profile")
    return ok("machine", told)


def _devices() -> Iterator[Finding]:
    drivers = len(list(Path("/dev").glob("nvidia[0-9]*")))
    if not drivers:  # importing torch takes seconds, and is not needed to say this
        yield ok("gpu", f"none: torch {version('torch')} trains on the CPU")
        yield ok("attention", "torch's own, document by document, on the CPU")
        return
    import torch

    if not torch.cuda.is_available():
        yield problem("gpu", f"{drivers} GPUs that torch {torch.__version__} cannot use", TORCH)
        return
    cards = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    memory = num_bytes(min(card.total_memory for card in cards))
    yield ok("gpu", f"{len(cards)} x {cards[0].name}, {memory}, torch {torch.__version__}")
    yield _attention()


def _attention() -> Finding:
    import torch

    from trainer.kernels import KERNELS, refusal

    found = {"global": "plain torch", "local": "plain torch"}
    for windowed, layers in ((False, "global"), (True, "local")):
        for name, find in KERNELS.items():
            run = find(windowed)
            if run is not None and refusal(run, torch.bfloat16, windowed) is None:
                found[layers] = name
                break
    told = ", ".join(f"{kernel} in {layers} layers" for layers, kernel in found.items())
    if "plain torch" in found.values():
        return warning("attention", told, "pip install flash-attn, or torch 2.11 or later")
    return ok("attention", told)
