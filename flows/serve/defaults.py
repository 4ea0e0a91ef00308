"""What the forms of a store start with: the recipe that it was last built from, as it was then.

In: a store. Out: parameters of the deployments: the store and, where something was built, `recipe`
and the `overrides` (KEY=VALUE) that make the recipe's file what the build had: where its text lies,
for one. So a newcomer mixes and trains what is there without typing any of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypedDict

from flows.job import RECIPES
from flows.serve.forms import find_recipe
from schemas.catalogue import newest_build
from schemas.digest import Json
from schemas.errors import UserError
from schemas.recipe import Recipe
from schemas.recipe_file import load_recipe
from schemas.store import Store, local_path


class Defaults(TypedDict, total=False):
    store: str
    recipe: str
    overrides: list[str]


def defaults_of(store: Store) -> Defaults:
    """What the forms start with; nothing but the store where it lies elsewhere or is empty."""
    found: Defaults = {"store": store.url}
    folder = local_path(store.url)
    built = list(folder.glob("catalogues/*/*.json")) if folder else []
    if not built:
        return found
    newest = max(built, key=lambda path: path.stat().st_mtime)
    name, phase = newest.parent.name, newest.stem
    build = newest_build(store, name, phase)
    try:
        plain = load_recipe(find_recipe(name), packaged=RECIPES)
    except UserError:  # built from a file that is not among the choices
        return found
    if build is None:
        return found
    return {**found, "recipe": name, "overrides": list(_differences(plain, build.recipe))}


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
