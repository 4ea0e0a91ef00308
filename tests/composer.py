"""Raw Composer checkpoints as mmBERT's training code left them, made of a model of this project."""

from __future__ import annotations

import datetime
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch.optim import Optimizer
from torch.torch_version import TorchVersion

from trainer.model import ModernBert


def composer_name(name: str) -> str:
    """The published key map, written from this side."""
    if name.startswith("model.layers."):
        return "model.bert.encoder." + name.removeprefix("model.")
    if name.startswith("model."):
        return "model.bert." + name.removeprefix("model.")
    return f"model.{name}"


def payload(model: ModernBert, optimizers: object) -> dict[str, object]:
    """state and rng as Composer pickles them, with the globals that it brings along."""
    weights = OrderedDict((composer_name(n), t.detach()) for n, t in model.state_dict().items())
    state = {
        "model": weights,
        "optimizers": optimizers,
        "schedulers": {"LambdaLR": {"base_lrs": [np.float64(8e-4)], "last_epoch": 3}},
        "timestamp": {"Timestamp": {"batch": 3, "total_wct": datetime.timedelta(days=40)}},
        "integrations": {"huggingface": {"model": {"config": {"content": {}}}, "tokenizer": {}}},
        "metadata": {"torch_version": TorchVersion("2.4.0"), "loss": np.float32(1.5)},
        "run_name": "mmbert-base-ext",
        "dataset_state": {"train": None},
    }
    rng = {"numpy": np.random.RandomState(0).get_state(), "torch": torch.zeros(4)}
    return {"state": state, "rng": [rng]}


def moments_of(model: ModernBert, optimiser: Optimizer, by: str) -> dict[str, object]:
    """StableAdamW's state: vectors' group first, as ModernBERT's training code orders them."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    ordered = [[p for p in names if p.ndim < 2], [p for p in names if p.ndim > 1]]
    keys = {p: i for i, p in enumerate([*ordered[0], *ordered[1]])}
    key = {p: composer_name(names[p]) if by == "name" else keys[p] for p in names}
    state = {
        key[p]: {m: optimiser.state[p][m].clone() for m in ("exp_avg", "exp_avg_sq")} for p in names
    }
    step = torch.tensor(int(optimiser.param_groups[0]["step"]))
    groups = [{"params": [key[p] for p in group], "step": step} for group in ordered]
    return {"StableAdamW": {"state": state, "param_groups": groups}}


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path
