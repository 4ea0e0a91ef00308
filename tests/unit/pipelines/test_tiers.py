"""Quality tiers are strata of their own; other bounds gather again and read nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.ledger import total
from schemas.recipe import Recipe
from schemas.text import Source
from tests import corpora
from tests.building import Built, build_store, files_of

SCORES = [0.05, 0.2, 0.2, 0.5, 0.7, 0.95, 0.95, None]  # of documents, again and again


def scored(root: Path, tiers: dict[str, float]) -> Recipe:
    """A corpus with a source of scored documents in Faroese."""
    corpora.write_corpus(root, {"fao_Latn": 30})
    path = root / "stories" / "stories.jsonl"
    path.parent.mkdir(exist_ok=True)
    rows = [
        {"id": f"s{place}", "text": text, "score": SCORES[place % len(SCORES)]}
        for place, text in enumerate(corpora.sentences("stories", 80))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = corpora.recipe(root)
    source = Source.model_validate(
        {"path": str(path.parent), "format": "documents", "language": "fao_Latn", "tiers": tiers}
    )
    phase = recipe.phases["only"].model_copy(
        update={"shares": recipe.phases["only"].shares | {"stories": 1.0}}
    )
    return recipe.model_copy(
        update={"sources": recipe.sources | {"stories": source}, "phases": {"only": phase}}
    )


def stories(built: Built) -> dict[str, int]:
    return {s.name.tier: s.ledger.kept for s in built.strata if s.name.source == "stories"}


def test_each_document_is_in_the_highest_tier_that_it_reaches(tmp_path: Path) -> None:
    recipe = scored(tmp_path / "raw", {"high": 0.9, "low": 0.1, "middle": 0.5})
    built = build_store(recipe, tmp_path / "store")
    found = stories(built)
    held_out = found.pop("heldout")
    assert sum(found.values()) + held_out == 60
    # Ten of each score; what is held out is of any of them.
    most = {"low": 20, "middle": 20, "high": 20}
    assert all(most[tier] - held_out <= kept <= most[tier] for tier, kept in found.items())
    assert found.keys() == most.keys()


def test_the_lowest_tier_answers_for_all_that_was_read(tmp_path: Path) -> None:
    recipe = scored(tmp_path / "raw", {"high": 0.9, "low": 0.1})
    built = build_store(recipe, tmp_path / "store")
    low = built.stratum("stories/fao_Latn/low").ledger
    high = built.stratum("stories/fao_Latn/high").ledger
    assert low.read == 80
    assert low.dropped["tier_high"] == high.read == high.kept
    assert low.dropped["low_quality_score"] == low.dropped["no_quality_score"] == 10
    assert low.read == low.kept + sum(low.dropped.values())
    summed = total(s.ledger for s in built.strata if s.name.source == "stories")
    assert (summed.read, summed.kept) == (80, 60)
    assert summed.dropped == {"low_quality_score": 10, "no_quality_score": 10}


def test_other_bounds_read_no_text_again(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = build_store(scored(tmp_path / "raw", {"high": 0.9, "low": 0.1}), store)
    before = {n: d for n, d in files_of(store / "spills").items() if n.endswith("spill.json")}
    second = build_store(scored(tmp_path / "raw", {"high": 0.6, "low": 0.1}), store)
    after = {n: d for n, d in files_of(store / "spills").items() if n.endswith("spill.json")}
    assert before == after
    assert second.num_new == 1
    assert stories(second)["high"] > stories(first)["high"]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"tiers": {"all": 0.5}}, "no name for one"),
        ({"tiers": {"a": 0.5, "b": 0.5}}, "same score"),
        ({"tiers": {"a": 0.5}, "min_score": 0.2}, "min_score or tiers"),
        ({"tiers": {"a": 0.5}, "format": "fineweb2"}, "no quality score"),
    ],
)
def test_tiers_that_cannot_be_are_refused(settings: dict[str, object], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        Source.model_validate({"path": "x", "format": "documents"} | settings)
