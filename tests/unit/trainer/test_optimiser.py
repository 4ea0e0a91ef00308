"""The optimiser is the published formula, and a phase changes its constants but not its memory."""

import copy

import pytest
import torch
from torch import nn

from trainer.optimiser import build_optimiser, enter_phase, parameter_groups, set_lr


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7, bias=False), nn.Linear(7, 3)).double()


def by_hand(p, state, g, t, lr, max_lr, wd, betas, eps):
    m, v = state
    b1, b2 = ((b**t - b) / (b**t - 1) for b in betas)
    m = m + (1 - b1) * (g - m)
    v = b2 * v + (1 - b2) * g**2
    r = (g**2 / v.clamp(min=eps**2)).mean().sqrt()
    lr = lr / max(1.0, r.item())
    if p.ndim >= 2:
        p = p * (1 - lr / max_lr * wd)
    return p - lr * m / (v.sqrt() + eps), (m, v)


class Twin:
    """The model and the formula side by side, fed the same gradients."""

    def __init__(self):
        self.model = small_model()
        self.peak, self.wd, self.betas, self.eps = 1e-2, 9e-4, (0.9, 0.95), 1e-8
        self.optimiser = build_optimiser(self.model, self.peak, self.wd, self.betas, self.eps)
        self.values = [p.detach().clone() for p in self.model.parameters()]
        self.states = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.values]
        self.t = 0

    def step(self, lr: float, surprise: float = 1.0) -> None:
        self.t += 1
        generator = torch.Generator().manual_seed(self.t)
        set_lr(self.optimiser, lr)
        for i, p in enumerate(self.model.parameters()):
            p.grad = surprise * torch.randn(p.shape, generator=generator, dtype=p.dtype)
            constants = lr, self.peak, self.wd, self.betas, self.eps
            self.values[i], self.states[i] = by_hand(
                self.values[i], self.states[i], p.grad, self.t, *constants
            )
        self.optimiser.step()

    def agree(self) -> None:
        for p, value in zip(self.model.parameters(), self.values, strict=True):
            torch.testing.assert_close(p.detach(), value, rtol=1e-12, atol=1e-14)


def test_steps_are_those_of_the_formula():
    twin = Twin()
    for lr, surprise in [(1e-2, 1.0), (1e-2, 30.0), (5e-3, 0.1), (2e-3, 1.0), (0.0, 1.0)]:
        twin.step(lr, surprise)
        twin.agree()


def test_a_phase_loaded_from_the_last_keeps_moments_and_step_but_not_constants():
    twin = Twin()
    for _ in range(3):
        twin.step(1e-2, surprise=1e-3)
    saved = copy.deepcopy(twin.optimiser.state_dict())

    twin.peak, twin.wd, twin.betas, twin.eps = 4e-3, 5e-4, (0.8, 0.9), 0.1
    twin.optimiser = build_optimiser(twin.model, twin.peak, twin.wd, twin.betas, twin.eps)
    twin.optimiser.load_state_dict(saved)
    enter_phase(twin.optimiser, twin.peak, twin.wd, twin.betas, twin.eps)
    for surprise in (3e-2, 1e-3, 1.0):  # the first would be clipped at the old eps
        twin.step(3e-3, surprise)
        twin.agree()


@pytest.mark.parametrize("weight_decay", [0.0, 8e-5])
def test_only_matrices_decay(weight_decay):
    model = small_model()
    decayed, plain = parameter_groups(model, weight_decay)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (weight_decay, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in plain["params"]} == {1}
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def test_decay_can_return_after_a_phase_without_it():
    twin = Twin()
    enter_phase(twin.optimiser, 1e-2, 0.0, twin.betas, twin.eps)
    enter_phase(twin.optimiser, 1e-2, twin.wd, twin.betas, twin.eps)
    assert [g["weight_decay"] for g in twin.optimiser.param_groups] == [twin.wd, 0.0]
