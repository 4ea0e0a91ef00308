"""Forms start with what a store was built from, so that nobody types it again."""

from __future__ import annotations

from pathlib import Path

from flows.job import RECIPES
from flows.serve.defaults import defaults_of
from schemas.catalogue import NewestBuild
from schemas.recipe_file import load_recipe
from schemas.store import Store


def test_an_empty_store_leaves_the_forms_as_they_are(tmp_path: Path) -> None:
    assert defaults_of(Store.at(str(tmp_path))) == {"store": str(tmp_path)}


def test_the_recipe_and_what_was_laid_over_it(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    laid = [
        'sources.fineweb2.path="/data/füür web"',
        "phases.extend.tau=0.25",
        'phases.extend.shares."dolmino/wiki"=3.0',
        "filters.use=['length']".replace("'", '"'),
    ]
    built = load_recipe("tiny", laid, RECIPES)
    NewestBuild(built, "catalogue").save(store)
    found = defaults_of(store)
    assert found["recipe"] == "tiny"
    assert sorted(found["overrides"]) == sorted(laid)
    again = load_recipe("tiny", found["overrides"], RECIPES)
    assert again == built


def test_a_recipe_that_nobody_can_choose_is_not_proposed(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    NewestBuild(load_recipe("tiny", ["name=mine"], RECIPES), "catalogue").save(store)
    assert defaults_of(store) == {"store": store.url}
