"""The moments in a Composer checkpoint, by this model's names, and putting them into an optimiser.

    {"StableAdamW": {"state": {PARAMETER: {"exp_avg", "exp_avg_sq"}}, "param_groups": [{"params"}]}}

PARAMETER is a name, or an index that counts through the groups' `params`. For indices the names are
found again: a group holds vectors only, matrices only, or both, and in it parameters stand in the
order of the model; every shape must then fit. `step` stands in the groups (optimi) or in the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from schemas.errors import UserError
from trainer.checkpoint import contents
from trainer.model import ModernBert

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Moments:
    """Both moments of every parameter, by name, after `step` steps."""

    step: int
    exp_avg: dict[str, Tensor]
    exp_avg_sq: dict[str, Tensor]


def restore(model: ModernBert, optimiser: Optimizer, moments: Moments) -> None:
    """Put moments and step into the optimiser of this model; its constants stay."""
    views = contents(model, optimiser)
    for moment, values in zip(MOMENTS, (moments.exp_avg, moments.exp_avg_sq), strict=True):
        own = views[moment]
        assert isinstance(own, dict)
        for name, view in own.items():
            view.copy_(values[name])
    for group in optimiser.param_groups:
        group["step"].fill_(moments.step)


def read_moments(
    optimisers: Mapping[str, Any] | None,
    names: Mapping[str, str],
    shapes: Mapping[str, torch.Size],
    path: Path,
) -> Moments | None:
    """None when there are no moments; UserError when they are not those of these weights.

    `names` gives this model's name for each of the checkpoint's; `shapes` is in the order of the
    model, the tied decoder left out.
    """
    if not optimisers:
        return None
    if len(optimisers) > 1:
        raise UserError(f"{path} holds {len(optimisers)} optimisers: one is expected")
    (state_dict,) = optimisers.values()
    state, groups = state_dict["state"], state_dict["param_groups"]
    if not state:
        return None
    by_name = {}
    for group in groups:
        for parameter, name in _named(group["params"], state, names, shapes, path):
            by_name[name] = state[parameter]
    for name, shape in shapes.items():
        for moment in MOMENTS:
            found = by_name.get(name, {}).get(moment)
            if found is None or found.shape != shape:
                what = "absent" if found is None else f"of shape {list(found.shape)}"
                raise UserError(
                    f"{path}: {moment} of {name} is {what}, expected {list(shape)}; the "
                    "optimiser's state belongs to other weights"
                )
    first, second = (
        {name: by_name[name][moment].to(torch.float32, copy=True) for name in shapes}
        for moment in MOMENTS
    )
    return Moments(_step(groups, state, path), first, second)


def _named(
    parameters: Sequence[str | int],
    state: Mapping[str | int, Mapping[str, Tensor]],
    names: Mapping[str, str],
    shapes: Mapping[str, torch.Size],
    path: Path,
) -> list[tuple[str | int, str]]:
    """The parameters of a group, each with its name here."""
    held = [p for p in parameters if p in state]
    if all(isinstance(p, str) for p in held):
        return [(p, names.get(str(p), names.get(f"model.{p}", str(p)))) for p in held]
    ranks = {state[p]["exp_avg"].ndim for p in held}
    inside = [n for n, shape in shapes.items() if len(shape) in ranks]
    if len(inside) != len(held):
        raise UserError(
            f"{path}: a group of its optimiser has {len(held)} parameters where the model has "
            f"{len(inside)} of their kind; the optimiser's state belongs to other weights"
        )
    return list(zip(held, inside, strict=True))


def _step(
    groups: Sequence[Mapping[str, Any]],
    state: Mapping[str | int, Mapping[str, Tensor]],
    path: Path,
) -> int:
    found = [group["step"] for group in groups if "step" in group]
    found = found or [entry["step"] for entry in state.values() if "step" in entry]
    steps = {int(step) for step in found}
    if len(steps) != 1:
        told = ", ".join(map(str, sorted(steps))) or "none"
        raise UserError(f"{path}: its optimiser must tell one step, and tells {told}")
    return steps.pop()
