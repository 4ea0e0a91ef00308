"""Addresses of what lies in a store: pages of its viewer, or the place itself where none runs.

    link(store, ".../manifests/tiny/pretrain/1f8cb4c407f10b86/manifest.json")
        http://127.0.0.1:4300/mixtures/tiny/pretrain/1f8cb4c407f10b86    MMBERT_VIEWER_URL is set
        /data/store/manifests/tiny/pretrain/1f8cb4c407f10b86/manifest.json    it is not

`mmbert serve` sets the variable for all that it starts, and MMBERT_VIEWER_STORE to the store that
the viewer shows: what lies in another one has no page there. The same names serve the viewer.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from schemas.digest import ID_LENGTH
from schemas.store import Store, local_path

VIEWER_URL = "MMBERT_VIEWER_URL"
VIEWER_STORE = "MMBERT_VIEWER_STORE"  # unset: whichever store is asked for


def viewer_of(store: Store) -> str | None:
    """Where the viewer of a store answers, without a slash at the end; None where none does."""
    shown = os.environ.get(VIEWER_STORE)
    if shown and not is_same(Store.at(shown), store):
        return None
    return os.environ.get(VIEWER_URL, "").rstrip("/") or None


def is_same(one: Store, other: Store) -> bool:
    """Whether two URLs are one store; links between folders count as their goal."""
    if one.url == other.url:
        return True
    here, there = local_path(one.url), local_path(other.url)
    return here is not None and there is not None and here.resolve() == there.resolve()


def link(store: Store, url: str) -> str:
    """The viewer's page of a manifest, a run or a stratum, and of all else its file."""
    viewer = viewer_of(store)
    return viewer + page_of(store, url) if viewer else url


def link_difference(store: Store, before_url: str, after_url: str) -> str:
    """The viewer's page of two manifests beside each other."""
    viewer = viewer_of(store)
    return viewer + difference_page(store, before_url, after_url) if viewer else after_url


def difference_page(store: Store, before_url: str, after_url: str) -> str:
    """Its path at the viewer."""
    before = "/".join(_parts(store, before_url)[1:])
    return f"{page_of(store, after_url)}?against={quote(before)}"


def page_of(store: Store, url: str) -> str:
    """The path, at the viewer, of what lies at a URL of the store; quoted."""
    if url.rstrip("/") == store.url:
        return "/"
    match _parts(store, url):
        case ["manifests", recipe, phase, identity] if _is_id(identity):
            path = f"/mixtures/{recipe}/{phase}/{identity}"
        case ["runs", name]:
            path = f"/runs/{name}"
        case ["strata", *name, identity] if _is_id(identity):
            path = f"/strata/{'/'.join(name)}/{identity}"
        case parts:
            path = f"/files/{'/'.join(parts)}"
    return quote(path)


def _is_id(name: str) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{{ID_LENGTH}}}", name) is not None


def _parts(store: Store, url: str) -> list[str]:
    """The names on the way to a record: those of its folder, for a record's own file."""
    parts = store.relative(url.rstrip("/")).split("/")
    records = ("manifest.json", "run.json", "stratum.json")
    return parts[:-1] if parts[-1] in records else parts
