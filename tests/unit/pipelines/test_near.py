"""Near-duplicates share a band, in every script; texts that only resemble each other do not."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.near import BANDS, bands, shingles
from tests import corpora
from tests.unit.pipelines.test_filters import CLEAN


def found_of(seed: int, text: str) -> list[int]:
    return bands(seed, shingles(text))


TEXT = corpora.sentences("near", 40)


@pytest.mark.parametrize("label", CLEAN)
def test_a_text_with_a_few_edits_shares_a_band(label: str) -> None:
    parts = CLEAN[label].split() if " " in CLEAN[label] else [*CLEAN[label]]
    text = " ".join(np.random.default_rng(0).choice(parts, 150))
    middle = len(text) // 2
    edited = text[:middle] + "xyz" + text[middle + 3 :]
    assert set(found_of(1, text)) & set(found_of(1, edited))
    assert set(found_of(1, text)) & set(found_of(1, text.upper().replace(" ", "  \n")))


def test_other_texts_of_the_same_words_do_not() -> None:
    found = [set(found_of(1, text)) for text in TEXT]
    assert not any(a & b for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize("text", ["", " ", "a", "\ud800 half a pair"])
def test_the_smallest_and_the_oddest_texts_have_bands(text: str) -> None:
    assert len(found_of(1, text)) == BANDS


def test_the_seed_decides() -> None:
    assert found_of(1, TEXT[0]) == found_of(1, TEXT[0])
    assert set(found_of(1, TEXT[0])).isdisjoint(found_of(2, TEXT[0]))
