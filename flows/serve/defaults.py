"""What the forms of a store start with: the recipe that it was last built from, as it was then.

In: a store. Out: parameters of the deployments: the store and, where something was built, `recipe`
and the `overrides` (KEY=VALUE) that make the recipe's file what the build had: where its text lies,
for one. So a newcomer mixes and trains what is there without typing any of it.

A recipe and its overrides are proposed, and renewed, together. A deployment's version is the digest
of what was proposed to it, and tells whether somebody has chosen something else since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TypedDict

from flows.job import RECIPES
from flows.serve.forms import find_recipe
from schemas.catalogue import newest_build
from schemas.digest import Json, content_id
from schemas.errors import UserError
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe
from schemas.store import Store, local_path

PROPOSED = ("recipe", "recipe_file", "overrides")


class Defaults(TypedDict, total=False):
    store: str
    recipe: str
    overrides: list[str]


def defaults_of(store: Store) -> Defaults:
    """What the forms start with; nothing but the store where it lies elsewhere or is empty."""
    found: Defaults = {"store": store.url}
    built = _last_built(store)
    if built is None:
        return found
    try:
        plain = load_recipe(find_recipe(built.name), packaged=RECIPES)
    except UserError:  # built from a file that is not among the choices
        return found
    return {**found, "recipe": built.name, "overrides": list(_differences(plain, built))}


def _last_built(store: Store) -> Recipe | None:
    folder = local_path(store.url)
    built = list(folder.glob("catalogues/*/*.json")) if folder else []
    if not built:
        return None
    newest = max(built, key=lambda path: path.stat().st_mtime)
    build = newest_build(store, newest.parent.name, newest.stem)
    return build.recipe if build else None


def places_built(recipe: Recipe, store: Store) -> list[str]:
    """The overrides with which `recipe` reads the text that the store was last built from; none
    where it does so already, or another recipe was built."""
    built = _last_built(store)
    if built is None or built.name != recipe.name:
        return []
    return [line for line in _differences(recipe, built) if line.startswith("sources.")]


def version_of(parameters: Mapping[str, Json], plain: Mapping[str, Json]) -> str:
    """The digest of a proposal; `plain` is what a form has of its own."""
    return content_id({name: parameters.get(name, plain.get(name)) for name in PROPOSED})


def is_chosen(there: Mapping[str, Json], version: str | None, plain: Mapping[str, Json]) -> bool:
    """Whether somebody chose the recipe or the overrides of a deployment of this version."""
    return any(name in there for name in PROPOSED) and version_of(there, plain) != version


def renewed(
    there: Mapping[str, Json], wanted: Mapping[str, Json], keep_proposed: bool
) -> dict[str, Json]:
    """Parameters of a deployment that is registered again; all but its proposal is somebody's."""
    own = {name: value for name, value in there.items() if keep_proposed or name not in PROPOSED}
    new = {name: v for name, v in wanted.items() if not (keep_proposed and name in PROPOSED)}
    return {**own, **new}


def _differences(plain: Recipe, built: Recipe) -> Iterator[str]:
    """Lines that lay `built` over `plain`; which phases there are is the form's matter."""
    then, now = built.model_dump(mode="json"), plain.model_dump(mode="json")
    del then["release"]
    for phase in then["phases"].values():
        del phase["after"]
    yield from _lines((), then, now)


def _lines(keys: tuple[str, ...], then: Json, now: Json) -> Iterator[str]:
    if isinstance(then, dict):
        for key, value in then.items():
            yield from _lines((*keys, key), value, now.get(key) if isinstance(now, dict) else None)
    elif then is not None and then != now:
        yield f"{'.'.join(map(_quoted, keys))}={json.dumps(then, ensure_ascii=False)}"


def _quoted(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else json.dumps(key)
