"""Forms start with what a store was built from, so that nobody types it again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from flows.inputs import require_inputs
from flows.job import RECIPES
from flows.serve.defaults import defaults_of, is_chosen, renewed, version_of
from schemas.catalogue import NewestBuild
from schemas.digest import Json
from schemas.errors import UserError
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


def test_who_lacks_that_text_is_told_what_to_add(tmp_path: Path) -> None:
    """A command reads what its recipe says; it does not guess."""
    store = Store.at(str(tmp_path))
    laid = [f"sources.{name}.path=/data/{name}" for name in ("dclm", "dolmino", "fineweb2")]
    NewestBuild(load_recipe("tiny", laid, RECIPES), "catalogue").save(store)
    lost = [line.replace("data", "lost") for line in laid]
    elsewhere = load_recipe("tiny", [*lost, "phases.extend.tau=0.25"], RECIPES)
    with pytest.raises(UserError, match=r"other places, so add: --set .*/data/dclm") as told:
        require_inputs(elsewhere, store)
    added = shlex.split(str(told.value).partition("so add: ")[2])[1::2]
    assert len(added) == 3  # what somebody chose is left alone
    again = load_recipe("tiny", added, RECIPES)
    assert {source.path for source in again.sources.values()} >= {"/data/dclm", "/data/fineweb2"}
    with pytest.raises(UserError, match="point each elsewhere"):
        require_inputs(again, store)


def test_a_recipe_that_nobody_can_choose_is_not_proposed(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    NewestBuild(load_recipe("tiny", ["name=mine"], RECIPES), "catalogue").save(store)
    assert defaults_of(store) == {"store": store.url}


PLAIN: dict[str, Json] = {"recipe": "tiny", "recipe_file": "", "overrides": [], "tau": None}
FIRST: dict[str, Json] = {"store": "/s", "recipe": "tiny", "overrides": ["sources.dclm.path=x"]}
THEN: dict[str, Json] = {"store": "/s", "recipe": "small", "overrides": []}


def again(there: dict[str, Json], version: str | None = None) -> dict[str, Json]:
    """Parameters after a build with another recipe, and another registration."""
    before = version or version_of(FIRST, PLAIN)
    return renewed(there, THEN, is_chosen(there, before, PLAIN))


def test_what_was_proposed_is_renewed_as_a_pair() -> None:
    assert again(FIRST) == THEN
    saved = {**PLAIN, **FIRST, "tau": 0.1}  # as the UI saves a form in which tau was changed
    assert again(saved) == {**THEN, "tau": 0.1}
    of_an_empty_store = version_of({"store": "/s"}, PLAIN)
    for there in ({"store": "/s"}, {**PLAIN, "store": "/s"}):
        assert again(there, of_an_empty_store).items() >= THEN.items()


@pytest.mark.parametrize(
    "chosen",
    [{"recipe": "base"}, {"overrides": []}, {"recipe_file": "mine.toml"}],
)
def test_what_somebody_chose_stays_with_all_that_belongs_to_it(chosen: dict[str, Json]) -> None:
    assert again(FIRST | chosen) == FIRST | chosen
    assert again(FIRST | chosen | {"store": "/moved"}) == FIRST | chosen
