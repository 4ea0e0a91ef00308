"""A catalogue: what the strata of a build hold, as mixtures need it, in one file.

    catalogues/<id>.arrow                one row a shard; the schema's metadata lists the strata
    catalogues/<recipe>/<phase>.json     that of the newest build of a phase, and its recipe

A mixture is decided from it without a look at the strata, of which there are thousands, or at the
raw text. Strata never change, so it cannot go stale: its id is the digest of its bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
from pydantic import ValidationError

from schemas.digest import ID_LENGTH, Json, canonical, content_id, sha256
from schemas.ledger import Ledger
from schemas.recipe import Recipe
from schemas.rows import CONTEXTS, I64
from schemas.shard import digest_of
from schemas.store import Store, exists, join, local_path, read_bytes, write_bytes, write_json
from schemas.stratum import Stratum, StratumName, stratum_folder

COUNTS = ("rows", "tokens", "squared")  # of each context: schemas.rows.RowCount
SHARDS = pa.schema(
    [
        ("stratum", pa.int32()),  # its place in the list of strata
        ("name", pa.string()),  # of the file
        ("digest", pa.string()),
        ("documents", pa.int64()),
        *((f"{count}_{context}", pa.int64()) for context in CONTEXTS for count in COUNTS),
    ]
)
_STRATA = b"mmbert.strata"


@dataclass(frozen=True)
class Listed:
    """A stratum as a catalogue lists it; unreadable spans are left to the stratum."""

    id: str
    name: StratumName
    tokenizer: str
    vocab_size: int
    ledger: Ledger

    def folder(self, store: Store) -> str:
        return stratum_folder(store, self.name, self.id)


@dataclass(frozen=True)
class Catalogue:
    """Strata in the order of their names, and their shards (SHARDS) in the order of strata."""

    strata: tuple[Listed, ...]
    shards: pa.Table

    @cached_property
    def bounds(self) -> I64:
        """[strata + 1]: the shards of stratum i are bounds[i]:bounds[i + 1]."""
        places = self.shards.column("stratum").to_numpy()
        return np.searchsorted(places, np.arange(len(self.strata) + 1))

    def urls(self, store: Store) -> list[str]:
        """The URL of every shard."""
        folders = [stratum.folder(store) for stratum in self.strata]
        columns = (self.shards.column(name).to_pylist() for name in ("stratum", "name"))
        return [join(folders[place], name) for place, name in zip(*columns, strict=True)]


def catalogue_of(strata: Iterable[Stratum]) -> Catalogue:
    """The catalogue of committed strata."""
    ordered = sorted(strata, key=lambda stratum: str(stratum.name))
    columns: dict[str, list[int | str]] = {field.name: [] for field in SHARDS}
    for place, stratum in enumerate(ordered):
        for entry in stratum.shards:
            columns["stratum"].append(place)
            columns["name"].append(entry.name)
            columns["digest"].append(digest_of(entry.name))
            columns["documents"].append(entry.documents)
            for context in CONTEXTS:
                count = entry.rows[context]
                columns[f"rows_{context}"].append(count.rows)
                columns[f"tokens_{context}"].append(count.tokens)
                columns[f"squared_{context}"].append(count.tokens_squared)
    listed = tuple(
        Listed(s.id, s.name, s.tokenizer, s.vocab_size, s.ledger.model_copy(update=_READABLE))
        for s in ordered
    )
    return Catalogue(listed, pa.table(columns, SHARDS))


_READABLE: dict[str, tuple[()]] = {"unreadable": ()}


def save(store: Store, catalogue: Catalogue) -> str:
    """Write a catalogue, unless it is there; returns its id."""
    listed: Json = [
        {
            "id": stratum.id,
            "name": stratum.name.model_dump(),
            "tokenizer": stratum.tokenizer,
            "vocab_size": stratum.vocab_size,
            "ledger": stratum.ledger.model_dump(mode="json"),
        }
        for stratum in catalogue.strata
    ]
    table = catalogue.shards.combine_chunks().replace_schema_metadata({_STRATA: canonical(listed)})
    sink = io.BytesIO()
    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    identity = sha256(sink.getvalue())[:ID_LENGTH]
    url = _url(store, identity)
    if not exists(url):
        write_bytes(url, sink.getvalue())
    return identity


def load(store: Store, identity: str) -> Catalogue:
    """Raises FileNotFoundError where it is not there."""
    url = _url(store, identity)
    path = local_path(url)
    source = pa.memory_map(str(path)) if path else pa.BufferReader(read_bytes(url))
    table = ipc.open_file(source).read_all()
    listed = tuple(
        Listed(
            id=told["id"],
            name=StratumName.model_construct(**told["name"]),
            tokenizer=told["tokenizer"],
            vocab_size=told["vocab_size"],
            ledger=Ledger.model_validate(told["ledger"]),
        )
        for told in json.loads(table.schema.metadata[_STRATA])
    )
    return Catalogue(listed, table)


def _url(store: Store, identity: str) -> str:
    return join(store.url, "catalogues", f"{identity}.arrow")


@dataclass(frozen=True)
class NewestBuild:
    """What a phase was last built from: the recipe as it was then, and the strata it had."""

    recipe: Recipe
    catalogue: str  # id

    def save(self, store: Store) -> None:
        """Of some phases of a recipe, or all: how they follow each other is left out."""
        alone = {n: p.model_copy(update={"after": None}) for n, p in self.recipe.phases.items()}
        recipe = self.recipe.model_copy(update={"phases": alone, "release": None})
        content: dict[str, Json] = {
            "catalogue": self.catalogue,
            "recipe": recipe.model_dump(mode="json"),
        }
        for phase in alone:
            checked: Json = content | {"checksum": content_id(content)}
            write_json(_newest_url(store, recipe.name, phase), checked)


def newest_build(store: Store, recipe: str, phase: str) -> NewestBuild | None:
    """None where there is none that this version can read."""
    try:
        told = json.loads(read_bytes(_newest_url(store, recipe, phase)))
        return NewestBuild(Recipe.model_validate(told["recipe"]), told["catalogue"])
    except (FileNotFoundError, ValidationError):
        return None


def _newest_url(store: Store, recipe: str, phase: str) -> str:
    return join(store.url, "catalogues", recipe, f"{phase}.json")
