"""StableAdamW as torch-optimi has it, with what a change of phase needs.

    m   <- lerp(m, g, 1 - b1'),  v <- b2' v + (1 - b2') g^2      b' = (b^t - b) / (b^t - 1)
    r    = sqrt(mean(g^2 / max(v, eps^2)))                        for each tensor
    lr_t = lr / max(1, r)                                         large surprises, small steps
    p   <- p (1 - lr_t / max_lr wd) - lr_t m / (sqrt(v) + eps)

Weight decay is decoupled from the rate (8e-5 a step at the peak is AdamW's 0.1 at 8e-4) and acts on
matrices only: no norm, no bias. Moments and `t` go on from phase to phase.
"""

from __future__ import annotations

from optimi import StableAdamW
from torch import nn
from torch.optim import Optimizer


def parameter_groups(
    model: nn.Module, weight_decay: float
) -> list[dict[str, list[nn.Parameter] | float]]:
    """Matrices with `weight_decay`, vectors without; a tied parameter once."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def build_optimiser(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
) -> StableAdamW:
    """An optimiser whose peak rate is `lr`, for a model already on its device and sharded."""
    return StableAdamW(
        parameter_groups(model, weight_decay),
        lr=lr,
        betas=betas,
        eps=eps,
        decouple_lr=True,
        # Neither fused form: their state would differ between devices, and a checkpoint is to load
        # on any. It costs about 10 ms of launches a step, against a second of work or more.
        foreach=False,
        triton=False,
    )


def enter_phase(
    optimiser: Optimizer, lr: float, weight_decay: float, betas: tuple[float, float], eps: float
) -> None:
    """Set the constants of a phase, keeping moments and step.

    Call it after every load: optimi's state brings the constants of the phase that wrote it.
    """
    for group in optimiser.param_groups:
        decays = group["params"][0].ndim >= 2
        group.update(
            lr=lr,
            max_lr=lr,
            weight_decay=weight_decay if decays else 0.0,
            beta1=betas[0],
            beta2=betas[1],
            eps=eps,
        )
        for parameter in group["params"]:
            if "eps_sq" in optimiser.state[parameter]:
                optimiser.state[parameter]["eps_sq"].fill_(eps**2)


def set_lr(optimiser: Optimizer, lr: float) -> None:
    """The rate of the next step; the peak, which scales weight decay, stays."""
    for group in optimiser.param_groups:
        group["lr"] = lr
