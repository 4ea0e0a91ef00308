"""Schedules are functions of the clock that end exactly where the recipe says."""

import pytest

from trainer.schedule import batch_packs, learning_rate

BUDGET, PEAK = 100_000_000_000, 8e-4


def rate(tokens: float, shape="constant", warmup=0, decay=0, floor=0.0) -> float:
    return learning_rate(tokens, BUDGET, PEAK, warmup, shape, decay, floor)


def test_warm_up_is_linear_and_then_stable():
    rates = [rate(t, warmup=4_000) for t in (0, 1_000, 2_000, 4_000, BUDGET)]
    assert rates == pytest.approx([0, PEAK / 4, PEAK / 2, PEAK, PEAK])


def test_one_minus_sqrt_falls_to_the_released_floor():
    """mmBERT base: 8e-4 to 1.6e-5 over all 100 B tokens, two thirds gone after four ninths."""
    at = [rate(BUDGET * x, "one-minus-sqrt", decay=BUDGET, floor=0.02) for x in (0, 4 / 9, 1)]
    assert at == pytest.approx([PEAK, PEAK * (0.02 + 0.98 / 3), 1.6e-5])


def test_decay_covers_the_last_tokens_only():
    at = [
        rate(BUDGET * x, "linear", decay=BUDGET // 4, floor=0.2) for x in (0.5, 0.75, 0.875, 1, 1.1)
    ]
    assert at == pytest.approx([PEAK, PEAK, PEAK * 0.6, PEAK * 0.2, PEAK * 0.2])


def test_batch_sizes_last_in_proportion_to_themselves():
    """ModernBERT's rule from 1 to 12: size b ends at W (1 + .. + b) / 66."""
    warmup = 66_000
    for b in range(1, 12):
        end = 1_000 * b * (b + 1) // 2
        assert batch_packs(end - 1, warmup, 1, 12) == b
        assert batch_packs(end, warmup, 1, 12) == b + 1


def test_a_batch_warm_up_makes_as_many_steps_of_each_size():
    tokens, steps = 0, dict.fromkeys(range(8, 17), 0)
    warmup = 100 * sum(range(8, 16))
    while tokens < warmup:
        size = batch_packs(tokens, warmup, 8, 16)
        steps[size] += 1
        tokens += size
    assert [steps[b] for b in range(8, 16)] == [100] * 8


def test_without_batch_warm_up_the_batch_is_full_from_the_start():
    assert batch_packs(0, 0, 1, 12) == batch_packs(0, 1_000, 12, 12) == 12
