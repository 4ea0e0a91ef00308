"""Reading a recipe: a packaged name, a path or a URL of a TOML file becomes a checked `Recipe`.

    extends = "tiny"             one level: the named recipe with this file's keys laid over it
    --set phases.pretrain.tau=1  laid over both

Whatever is wrong comes back as one sentence with the file and the line to mend, or the `--set`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel, ValidationError

from schemas.errors import UserError, did_you_mean
from schemas.recipe import Recipe
from schemas.store import exists, join
from schemas.toml_layer import Keys, Layer, Table, at, merge, override_layer, read_layer


def load_recipe(
    reference: str, overrides: Sequence[str] = (), packaged: Path | None = None
) -> Recipe:
    """The recipe that `reference` names, with `--set` overrides (`a.b=value`) laid over it.

    `packaged` is the folder of recipes that can be named without a path. Raises UserError for a
    missing file, text that is not TOML, an unknown key and a wrong value.
    """
    layers = [*_files(reference, packaged), *map(override_layer, overrides)]
    merged: Table = {}
    for layer in layers:
        merged = merge(_one_tokenizer(merged, layer.table), layer.table)
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        raise UserError(_sentence(error, merged, layers)) from None


def _one_tokenizer(below: Table, above: Table) -> Table:
    """A layer that names one kind of tokenizer replaces the other kind below it."""
    old, new = below.get("tokenizer"), above.get("tokenizer")
    kinds = {"path", "train"}
    if not (isinstance(old, dict) and isinstance(new, dict) and len(kinds & new.keys()) == 1):
        return below
    kept = {key: value for key, value in old.items() if key not in kinds - new.keys()}
    return {**below, "tokenizer": kept}


def packaged_names(packaged: Path | None) -> list[str]:
    return sorted(path.stem for path in packaged.glob("*.toml")) if packaged else []


def _files(reference: str, packaged: Path | None) -> list[Layer]:
    """The file, after the one that it extends."""
    url = _locate(reference, packaged, beside=None)
    layer = read_layer(url)
    where = layer.where(("extends",))
    base = layer.table.pop("extends", None)
    if base is None:
        return [layer]
    if not isinstance(base, str):
        raise UserError(f"{where}: extends must be the name or the path of one recipe")
    try:
        parent = read_layer(_locate(base, packaged, beside=url))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if "extends" in parent.table:
        root = parent.table["extends"]
        raise UserError(
            f"{where}: {base} extends {root} itself, and a recipe extends one level only; "
            f"extend {root} and repeat the keys of {base}"
        )
    return [parent, layer]


def _locate(reference: str, packaged: Path | None, beside: str | None) -> str:
    """The URL of a recipe; a relative path in `extends` starts at the file that says it."""
    names = packaged_names(packaged)
    if packaged and reference in names:
        return str(packaged / f"{reference}.toml")
    url = reference
    if beside and "/" in beside and "://" not in reference and not reference.startswith("/"):
        url = join(beside.rsplit("/", 1)[0], reference)
    if url.endswith(".toml") and exists(url):
        return url
    near = get_close_matches(reference, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(
        f"there is no recipe {reference}: give the path of a .toml file or a packaged name "
        f"({', '.join(names) or 'none'}){hint}"
    )


def _sentence(error: ValidationError, merged: Table, layers: Sequence[Layer]) -> str:
    """The first thing that is wrong, with its place and what mends it."""
    # A mistyped key is also a missing one: the unknown one is what the user has to see.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    keys = tuple(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        place = keys[:-1]
    elif not keys:
        named = re.match(r"(phases\.[\w-]+(\.\w+)?)", reason)
        place = tuple(named[1].split(".")) if named else ()
    else:
        place = keys
    while place and at(merged, place) is None:
        place = place[:-1]  # pydantic appends the member of a union that it tried
    layer = next(found for found in reversed(layers) if at(found.table, place) is not None)
    where, dotted = layer.where(place), ".".join(place)

    if first["type"] == "extra_forbidden":
        known = _known_keys(Recipe, keys[:-1])
        near = get_close_matches(keys[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        return f"{where}: {dotted} is no key of a recipe; {hint}"
    if first["type"] == "missing":
        unnamed = _unnamed(error, keys, layers)
        return f"{where}: {unnamed or '.'.join(keys) + ' is missing; add it'}"
    if first["type"] == "value_error":
        return f"{where}: {reason}" if reason.startswith(dotted) else f"{where}: {dotted}: {reason}"
    given = at(merged, place)
    return f"{where}: {dotted} = {given!r}: {reason[:1].lower()}{reason[1:]}"


def _unnamed(error: ValidationError, keys: Keys, layers: Sequence[Layer]) -> str:
    """What to say of a phase or source that the first layer lacks and later ones say little of."""
    if len(keys) != 3 or keys[0] not in ("phases", "sources"):
        return ""
    kind, name, _ = keys
    known = at(layers[0].table, (kind,))
    lacking = [
        str(found["loc"][2])
        for found in error.errors()
        if found["type"] == "missing" and found["loc"][:2] == (kind, name)
    ]
    only_set = all(not layer.lines for layer in layers if at(layer.table, (kind, name)) is not None)
    if not isinstance(known, dict) or name in known or (len(lacking) == 1 and not only_set):
        return ""
    return (
        f"there is no {kind[:-1]} {name!r}{did_you_mean(name, list(known))}, the {kind} are "
        f"{', '.join(known)}; a new one needs {', '.join(lacking)} as well"
    )


def _known_keys(model: type[BaseModel], keys: Keys) -> list[str]:
    """The keys that a recipe knows below `keys`."""
    if not keys:
        return list(model.model_fields)
    kind = model.model_fields[keys[0]].annotation
    named = get_origin(kind) is dict  # [sources.*] and [phases.*]: the next key is the user's
    for inner in (kind, *get_args(kind)):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return _known_keys(inner, keys[2:] if named else keys[1:])
    return []
