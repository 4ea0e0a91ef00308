"""Which manifest a person means: a path, RECIPE/PHASE, RECIPE/PHASE/NAME, or the start of an id."""

from __future__ import annotations

import json
import re

import fsspec

from schemas.errors import UserError
from schemas.store import Store, exists, join, read_bytes

MAIN = "main"  # the name that a build gives
NAME = "[a-z][a-z0-9-]*"  # of others


def find_manifest(store: Store, reference: str) -> str:
    """The URL of a manifest.json; UserError when there is none, or several."""
    for place in (reference, join(reference, "manifest.json")):
        if place.endswith("/manifest.json") and exists(place):
            return place if "://" in place else join(Store.at(place).url)
    named = re.fullmatch(r"([^/]+)/([^/]+)(?:/([^/]+))?", reference)
    if named and (url := named_manifest(store, named[1], named[2], named[3] or MAIN)):
        return url
    found = all_manifests(store)
    if re.fullmatch(r"[0-9a-f]{4,16}", reference):
        meant = [url for url in found if url.split("/")[-2].startswith(reference)]
        if len(meant) == 1:
            return meant[0]
        if meant:
            ids = ", ".join(sorted(url.split("/")[-2] for url in meant))
            raise UserError(f"{reference} begins several manifests: {ids}; give more of the id")
    names = sorted({"/".join(url.split("/")[-4:-2]) for url in found})
    listed = ", ".join([*names[:12], *(["..."] if len(names) > 12 else [])]) or "none"
    raise UserError(
        f"{store.url} has no manifest {reference}; give RECIPE/PHASE (there are: {listed}), the "
        "start of an id, or a path"
    )


def named_manifest(store: Store, recipe: str, phase: str, name: str) -> str | None:
    """The URL of a phase's manifest of this name or id, or None when there is none."""
    folder = join(store.url, "manifests", recipe, phase)
    if exists(join(folder, f"{name}.json")):
        name = str(json.loads(read_bytes(join(folder, f"{name}.json")))["manifest"])
    url = join(folder, name, "manifest.json")
    return url if exists(url) else None


def names_of(store: Store, recipe: str, phase: str) -> list[str]:
    """The names of a phase's manifests."""
    fs, path = fsspec.core.url_to_fs(join(store.url, "manifests", recipe, phase))
    return sorted(
        name.rsplit("/", 1)[1].removesuffix(".json") for name in fs.glob(f"{path}/*.json")
    )


def all_manifests(store: Store) -> list[str]:
    """The URL of every manifest of a store."""
    url = join(store.url, "manifests")
    if not exists(url):
        return []
    fs, path = fsspec.core.url_to_fs(url)
    prefix = len(path.rstrip("/"))
    return [url + file[prefix:] for file in fs.find(path) if file.endswith("/manifest.json")]
