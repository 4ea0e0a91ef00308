"""Held-out text is chosen by groups of near-duplicates, and none takes a stratum with it."""

from __future__ import annotations

from pathlib import Path

from pipelines.hold_out import hold_out
from pipelines.near import group_hash, shingles
from tests import corpora
from tests.building import build_store


def test_whole_groups_come_to_the_count() -> None:
    groups = [(3, 1), (5, 2), (8, 1), (9, 1)]
    assert hold_out(groups, 3, 100) == {3, 5}
    assert hold_out(groups, 4, 100) == {3, 5, 8}
    assert hold_out(groups, 0, 100) == frozenset()


def test_a_group_that_is_larger_is_trained_on() -> None:
    assert hold_out([(3, 80), (5, 1), (8, 1)], 2, 100) == {5, 8}
    assert hold_out([(3, 3), (5, 2), (8, 90)], 1, 100) == {5}  # none fits, and this is no tenth
    assert hold_out([(3, 60), (5, 40)], 1, 100) == frozenset()


def test_texts_that_share_a_frame_are_not_held_out_together(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 12})
    (frame,) = corpora.sentences("frame", 1)
    framed = [f"{frame} {number}" for number in range(60)]
    texts = [*framed, *corpora.sentences("plain", 30)]
    lines = [corpora.dclm_line(text, str(number)) for number, text in enumerate(texts)]
    corpora.write_dclm(root / "dclm", lines)
    # A seed with which the hash that the framed texts share is the smallest of all.
    hashed = [shingles(text) for text in texts]
    groups = ((seed, [group_hash(seed, found) for found in hashed]) for seed in range(1_000))
    seed = next(seed for seed, found in groups if found.count(min(found)) > 50)
    recipe = corpora.recipe(root).model_copy(update={"seed": seed})
    built = build_store(recipe, tmp_path / "store")
    assert built.stratum("dclm/eng_Latn/heldout").ledger.kept == 1
    assert built.stratum("dclm/eng_Latn/all").ledger.dropped["held_out"] == 1
