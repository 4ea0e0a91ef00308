"""Data cards: which are written when. What they say is in pipelines/card/."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import fsspec

from pipelines.card import PAGE, strata_of, write_card
from schemas import manifest as manifests
from schemas import run as runs
from schemas.find_manifest import MAIN, find_manifest, named_manifest
from schemas.manifest import Manifest
from schemas.store import Store, exists, join
from schemas.stratum import Stratum


def write_missing(made: Mapping[str, tuple[Manifest, str]], strata: Sequence[Stratum]) -> None:
    """The cards of manifests (name -> manifest, URL) that have none."""
    by_id = {stratum.id: stratum for stratum in strata}
    beside = [manifest for manifest, _ in made.values()]
    for manifest, url in made.values():
        if not exists(join(url.rsplit("/", 1)[0], PAGE)):
            write_card(url, manifest, by_id, beside)


def draw_manifest(store: Store, reference: str) -> str:
    """The card of one manifest, drawn beside the recipe's other phases; returns its URL."""
    url = find_manifest(store, reference)
    store, recipe = manifests.store_of(url), url.split("/")[-4]
    others = (named_manifest(store, recipe, phase, MAIN) for phase in _phases(store, recipe))
    (card,) = _draw(store, [url], [url, *filter(None, others)])
    return card


def draw_run(folder: Path, store: Store | None = None) -> list[str]:
    """The cards of the manifests that a run trains on; returns their URLs."""
    run_url = str(folder.absolute() / "run.json")
    store, run = store or runs.store_of(run_url), runs.load(run_url)
    urls = [store.resolve(phase.current) for phase in run.phases]
    return _draw(store, [url for url in urls if exists(url)], urls)


def _draw(store: Store, urls: Sequence[str], beside: Collection[str]) -> list[str]:
    loaded = {url: manifests.load(url) for url in {*urls, *beside} if exists(url)}
    others = [loaded[url] for url in beside if url in loaded]
    return [write_card(url, loaded[url], strata_of(store, loaded[url]), others) for url in urls]


def _phases(store: Store, recipe: str) -> list[str]:
    """The phases that a recipe has manifests of."""
    fs, path = fsspec.core.url_to_fs(join(store.url, "manifests", recipe))
    return sorted(str(folder).rstrip("/").rsplit("/", 1)[-1] for folder in fs.ls(path, False))
