"""Near-duplicates share a band, in every script; texts that only resemble each other do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.near import BANDS, bands, shingles
from tests import corpora
from tests.building import build_store
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


def test_a_build_keeps_one_of_near_duplicates(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30})
    edited = [text.replace(" ka", " KA", 1) + " end." for text in TEXT[:5]]
    corpora.write_fineweb2(root / "fineweb2", "isl_Latn", [*TEXT, *edited])
    corpora.write_fineweb2(root / "fineweb2", "isl_Latn", [TEXT[39] + " held."], split="test")
    recipe = corpora.recipe(root)
    for use, dropped in (
        (("length",), {}),
        (("length", "near_duplicate"), {"near_duplicate": 5, "near_heldout": 1}),
    ):
        filters = recipe.filters.model_copy(update={"use": use})
        built = build_store(recipe.model_copy(update={"filters": filters}), tmp_path / "store")
        assert built.stratum("fineweb2/isl_Latn/all").ledger.dropped == dropped


def test_the_seed_decides() -> None:
    assert found_of(1, TEXT[0]) == found_of(1, TEXT[0])
    assert set(found_of(1, TEXT[0])).isdisjoint(found_of(2, TEXT[0]))
