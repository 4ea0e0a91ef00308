"""Near-duplicates share a band, in every script; texts that only resemble each other do not."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.near import BANDS, bands
from tests import corpora
from tests.unit.pipelines.test_filters import CLEAN

TEXT = corpora.sentences("near", 40)


@pytest.mark.parametrize("label", CLEAN)
def test_a_text_with_a_few_edits_shares_a_band(label: str) -> None:
    parts = CLEAN[label].split() if " " in CLEAN[label] else [*CLEAN[label]]
    text = " ".join(np.random.default_rng(0).choice(parts, 150))
    middle = len(text) // 2
    edited = text[:middle] + "xyz" + text[middle + 3 :]
    assert set(bands(1, text)) & set(bands(1, edited))
    assert set(bands(1, text)) & set(bands(1, text.upper().replace(" ", "  \n")))


def test_other_texts_of_the_same_words_do_not() -> None:
    found = [set(bands(1, text)) for text in TEXT]
    assert not any(a & b for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize("text", ["", " ", "a", "\ud800 half a pair"])
def test_the_smallest_and_the_oddest_texts_have_bands(text: str) -> None:
    assert len(bands(1, text)) == BANDS


def test_the_seed_decides() -> None:
    assert bands(1, TEXT[0]) == bands(1, TEXT[0])
    assert set(bands(1, TEXT[0])).isdisjoint(bands(2, TEXT[0]))
