"""Masking: the counted number of targets, 80 / 10 / 10, and never a special id."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.keyed import keyed
from schemas.seal import SpecialIds
from trainer.mask import HOW, ID, Masked, mask, num_targets

SPECIAL = SpecialIds()
VOCAB_SIZE = 1_000


def text(num_tokens: int, seed: int = 0) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(5, VOCAB_SIZE, num_tokens + 2)
    ids[0], ids[-1] = SPECIAL.bos, SPECIAL.eos
    return ids


def masked(ids: np.ndarray, rate: float, key: int = 1) -> Masked:
    return mask(ids, ids.size - 2, rate, key, VOCAB_SIZE, SPECIAL)


def reference(ids: np.ndarray, rate: float, key: int) -> tuple[list[int], list[int]]:
    """The definition with whole numbers and `keyed` alone: (masked ids, positions)."""
    special = SPECIAL.ids()
    candidates = [at for at, token in enumerate(ids.tolist()) if token not in special]
    num = max(1, int(rate * (ids.size - 2) + 0.5))
    positions = sorted(sorted(candidates, key=lambda at: (keyed(key, at), at))[:num])
    ordinary = [token for token in range(VOCAB_SIZE) if token not in special]
    shown = ids.tolist()
    for at in positions:
        tenth = keyed(key, HOW, at) * 10 // 2**64
        if tenth < 8:
            shown[at] = SPECIAL.mask
        elif tenth == 8:
            shown[at] = ordinary[keyed(key, ID, at) % len(ordinary)]
    return shown, positions


@given(st.integers(1, 300), st.sampled_from([0.05, 0.15, 0.3, 1.0]), st.integers(0, 2**64 - 1))
def test_it_is_what_its_definition_says(num_tokens: int, rate: float, key: int) -> None:
    ids = text(num_tokens, num_tokens)
    shown, positions = reference(ids, rate, key)
    found = masked(ids, rate, key)
    assert found.ids.tolist() == shown
    assert found.positions.tolist() == positions
    assert found.targets.tolist() == ids[positions].tolist()


@given(st.integers(1, 5_000), st.sampled_from([0.05, 0.15, 0.25, 0.3]))
def test_targets_are_known_from_lengths_alone(num_tokens: int, rate: float) -> None:
    found = masked(text(num_tokens), rate)
    assert found.positions.size == num_targets(np.array([num_tokens]), rate)[0]


@pytest.mark.parametrize(
    ("eligible", "rate", "expected"),
    [(1, 0.05, 1), (10, 0.05, 1), (9, 0.05, 1), (10, 0.25, 3), (30, 0.05, 2), (0, 0.3, 0)],
)
def test_halves_are_rounded_up_and_one_is_the_least(
    eligible: int, rate: float, expected: int
) -> None:
    assert num_targets(np.array([eligible]), rate).tolist() == [expected]


def test_eighty_ten_ten() -> None:
    ids = text(200_000)
    found = masked(ids, 0.3)
    shown = found.ids[found.positions]
    kept = (shown == found.targets).mean()
    assert (shown == SPECIAL.mask).mean() == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1, abs=0.01)


def test_special_ids_are_never_targets_and_never_drawn_wherever_they_lie() -> None:
    special = SpecialIds(pad=999, eos=500, bos=0, unk=7, mask=501)
    ids = np.tile(np.arange(VOCAB_SIZE), 200)
    ids = ids[~np.isin(ids, [999, 500, 0, 501])]  # <unk> stays in the text
    ids = np.concatenate([[0], ids, [500]])
    found = mask(ids, ids.size - 2, 0.5, 3, VOCAB_SIZE, special)
    assert not np.isin(found.targets, special.ids()).any()
    drawn = found.ids[found.positions][found.ids[found.positions] != special.mask]
    assert not np.isin(drawn, special.ids()).any()
    assert found.positions.size == num_targets(np.array([ids.size - 2]), 0.5)[0]
    untouched = np.setdiff1d(np.arange(ids.size), found.positions)
    assert (found.ids[untouched] == ids[untouched]).all()


def test_random_ids_are_uniform_over_the_ordinary_vocabulary() -> None:
    ids = np.full(400_002, 5)
    ids[0], ids[-1] = SPECIAL.bos, SPECIAL.eos
    found = masked(ids, 1.0)
    drawn = found.ids[found.positions]
    counts = np.bincount(drawn[(drawn != SPECIAL.mask) & (drawn != 5)], minlength=VOCAB_SIZE)[6:]
    assert counts.size == VOCAB_SIZE - 6
    chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert chi_square < counts.size + 5 * np.sqrt(2 * counts.size)


def test_every_position_is_as_likely_a_target() -> None:
    ids = text(100)
    hits = np.zeros(102)
    for key in range(2_000):
        hits[masked(ids, 0.3, key).positions] += 1
    assert hits[[0, -1]].tolist() == [0, 0]
    assert np.abs(hits[1:-1] / 2_000 - 0.3).max() < 0.05


def test_a_text_of_special_ids_alone_has_no_targets() -> None:
    found = masked(np.full(10, SPECIAL.unk), 0.3)
    assert found.positions.size == 0
    assert found.ids.tolist() == [SPECIAL.unk] * 10
