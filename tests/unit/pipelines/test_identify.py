"""A document in another language than its file is told apart, in languages nobody knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines import identify, screen
from pipelines.identify import LanguageProfile
from schemas.text import Filters
from tests import corpora
from tests.building import build_store

FAR = Filters().max_language_distance
SYLLABLES = {
    "here": ("ka", "lo", "mi", "ne", "ru", "ta", "vo", "shi", "bel", "dor"),
    "there": ("qua", "zig", "wen", "hu", "pyt", "jax", "och", "ebb", "yst", "uff"),
    "кириллица": ("жу", "ща", "лю", "быр", "хо", "цэ", "ень", "га"),
}


def texts(language: str, count: int, words: int = 60) -> list[str]:
    draw = np.random.default_rng([*language.encode()])
    known = ["".join(draw.choice(SYLLABLES[language], draw.integers(1, 4))) for _ in range(300)]
    return [" ".join(draw.choice(known, words)) for _ in range(count)]


@pytest.mark.parametrize("stray", ["there", "кириллица"])
def test_a_stray_document_is_far_and_the_rest_is_near(stray: str) -> None:
    file = [*texts("here", 40), *texts(stray, 2)]
    profile = LanguageProfile(enumerate(file))
    told = [profile.distance(number, text) for number, text in enumerate(file)]
    far = [number for number, distance in enumerate(told) if distance and distance > FAR]
    assert far == [40, 41]


def test_a_document_does_not_speak_for_itself() -> None:
    file = [*texts("here", 12, words=30), texts("there", 1, words=500)[0]]
    distance = LanguageProfile(enumerate(file)).distance(12, file[12])
    assert distance is not None
    assert distance > FAR


def test_documents_behind_the_head_are_judged_alike() -> None:
    file = texts("here", 40)
    profile = LanguageProfile(enumerate(file[:20]))
    behind = [profile.distance(number, file[number]) for number in range(20, 40)]
    assert all(distance is not None and distance < FAR for distance in behind)
    stray = profile.distance(99, texts("there", 1)[0])
    assert stray is not None
    assert stray > FAR


def test_where_little_is_known_nothing_is_said() -> None:
    few = enumerate(texts("here", identify.MIN_DOCUMENTS - 1))
    assert LanguageProfile(few).distance(0, texts("there", 1)[0]) is None
    profile = LanguageProfile(enumerate(texts("here", 20)))
    assert profile.distance(99, "12 + 30 = 42 :-)") is None
    assert LanguageProfile([]).distance(0, "") is None


@pytest.mark.parametrize("head", [2_000, 20])  # the strays are in it, or behind it
def test_a_build_drops_what_is_in_another_language(
    tmp_path: Path, head: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "HEAD", head)
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30})
    stray = texts("there", 2)
    corpora.write_fineweb2(root / "fineweb2", "isl_Latn", [*texts("here", 40), *stray])
    corpora.write_fineweb2(root / "fineweb2", "isl_Latn", texts("here", 41)[40:], split="test")
    # One language alone is written in Gujarati letters: whatever they spell is in it.
    corpora.write_fineweb2(root / "fineweb2", "guj_Gujr", [*texts("here", 40), *stray])
    recipe = corpora.recipe(root)
    filters = recipe.filters.model_copy(update={"use": ("language",)})
    built = build_store(recipe.model_copy(update={"filters": filters}), tmp_path / "store")
    assert built.stratum("fineweb2/isl_Latn/all").ledger.dropped == {"wrong_language": 2}
    assert "wrong_language" not in built.stratum("fineweb2/guj_Gujr/all").ledger.dropped
