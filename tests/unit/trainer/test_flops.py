"""Model FLOPs are the arithmetic of the model: counted here weight by weight and pair by pair."""

import numpy as np
import pytest

from schemas.recipe import ModelSettings
from tests.runs import MODEL, VOCAB_SIZE, phase_settings
from trainer.flops import flops_per_token, local_pairs, num_parameters, step_flops


@pytest.mark.parametrize("length", [1, 2, 8, 9, 10, 40])
def test_local_pairs_are_those_within_the_window(length):
    i = np.arange(length)
    near = np.abs(i[:, None] - i) <= 8
    assert local_pairs(np.array([length, length]), 8) == 2 * near.sum()


def test_parameters_are_those_of_the_published_models():
    assert num_parameters(ModelSettings(), 256_000) == 307_786_240
    assert num_parameters(ModelSettings(hidden_size=384, num_heads=6), 256_000) == 140_897_536


def test_a_step_costs_what_its_matrix_products_cost():
    model = ModelSettings(
        hidden_size=8, num_layers=4, num_heads=1, intermediate_size=6, local_window=4
    )
    lengths, targets, vocab_size = np.array([3, 7]), 2, 50
    forward = 0
    for layer in range(4):
        for n in lengths.tolist():
            pairs = sum(layer % 3 == 0 or abs(i - j) <= 2 for i in range(n) for j in range(n))
            forward += 2 * n * (8 * 24 + 8 * 8)  # Wqkv, Wo
            forward += 2 * pairs * (8 + 8)  # q k, p v
            forward += 2 * n * (8 * 12 + 6 * 8)  # Wi, Wo
    forward += 2 * targets * (8 * 8 + 8 * vocab_size)
    assert step_flops(model, vocab_size, lengths, targets) == 3 * forward


def test_the_guess_is_exact_where_its_assumptions_hold():
    phase = phase_settings(context=128, mask_rate=0.25)
    lengths = np.full(10, 64)  # half the context, within the window of every layer
    exact = step_flops(MODEL, VOCAB_SIZE, lengths, 160)
    assert flops_per_token(MODEL, VOCAB_SIZE, phase) == pytest.approx(exact / 640)
