"""A manifest: everything that decides what one phase delivers, and in which order.

JSON, small enough to diff; beside it `shards.arrow`, one row a shard. Written once, last. Targets
q(l) are tokens of the pool and sum to `pool_tokens` exactly; `rows` K(l) are what the phase
delivers over its whole budget. BOS and EOS count as tokens everywhere in a manifest.

Where weights change inside the phase, `knots` are windows w_1 < w_2 < ... and those of a stratum
the rows it has delivered before each: between two of them rows fall evenly (trainer/order.py). A
segment goes on with the rows of another manifest: schemas/segments.py.
"""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Self

import pyarrow as pa
import pyarrow.ipc as ipc
from pydantic import Field, model_validator

from schemas.digest import content_id, sha256
from schemas.exclusions import ExclusionRef
from schemas.figures import taus
from schemas.ledger import Frozen, Ledger
from schemas.store import Store, join, read_bytes, write_bytes, write_json

ORDER_VERSION = 2  # the arithmetic of order, packs and masks; bumped when any of it changes

SHARDS = pa.schema(
    [
        ("stratum", pa.int32()),  # index into Manifest.strata
        ("url", pa.string()),  # relative to the store
        ("digest", pa.string()),
        ("documents", pa.int64()),
        ("rows", pa.int64()),  # at the manifest's context, after exclusions that hold from window 0
        ("tokens", pa.int64()),  # of those rows
    ]
)


# Left out where they say nothing, so that manifests without them keep their ids.
def _empty(value: object) -> bool:
    return value is None or value == ()


class Packing(Frozen):
    pack_tokens: int = Field(gt=0, description="tokens a pack holds at most")
    max_pieces: int = Field(gt=0, description="rows a pack holds at most")
    window_packs: int = Field(gt=0, description="packs a window holds, about")


class StratumShare(Frozen):
    """One stratum of a phase: R rows and T tokens exist, K rows are delivered."""

    id: str
    folder: str  # relative to the store
    source: str
    language: str
    tier: str
    rows_available: int  # R
    tokens_available: int  # T
    target_tokens: int  # q, of the pool
    rows: int  # K, over the budget
    knots: tuple[int, ...] = Field((), exclude_if=_empty)  # rows before the manifest's knots


class LanguageShare(Frozen):
    """One language (ISO 639-3) of a phase, over all its strata."""

    language: str
    tokens_available: int
    weight: float  # its part of the pool
    target_tokens: int
    rows: int
    tokens: int  # that the rows hold on average; exact for whole epochs
    tokens_standard_error: int
    epochs: float  # over the budget


class Absence(Frozen):
    """A member of the phase's language set that delivers nothing."""

    language: str
    reason: str


class Continuation(Frozen):
    """What a segment goes on with, and the first window that is its own."""

    manifest: str  # id, of the same recipe and phase
    from_window: int = Field(ge=0)


class Manifest(Frozen):
    """`manifest.json`; `id` is the digest of all that follows it but `shard_table`."""

    format_version: int = 1
    order_version: int = ORDER_VERSION
    id: str = ""
    recipe: str
    phase: str
    seed: int
    tokenizer: str
    vocab_size: int
    context: int
    mask_rate: float
    tau: float
    tau_end: float | None = Field(None, exclude_if=_empty)  # it falls to this over the phase
    max_epochs: float
    min_tokens: int = 0
    weight_by: str = "language"
    pool_tokens: int
    budget_tokens: int
    packing: Packing
    windows: int  # N
    knots: tuple[int, ...] = Field((), exclude_if=_empty)  # windows inside the phase
    continues: Continuation | None = Field(None, exclude_if=_empty)
    languages: tuple[LanguageShare, ...]
    strata: tuple[StratumShare, ...]
    absent: tuple[Absence, ...] = ()
    exclusions: tuple[ExclusionRef, ...] = ()
    ledger: Ledger  # of all its strata, unreadable spans left to the strata
    shard_table: str = ""  # sha256 of shards.arrow, whose content follows from the rest

    @model_validator(mode="after")
    def _knots(self) -> Self:
        rising = all(a < b for a, b in pairwise((0, *self.knots, self.windows)))
        if self.knots and not rising:
            raise ValueError("knots must rise inside the phase")
        for stratum in self.strata:
            rows = (0, *stratum.knots, stratum.rows)
            if len(rows) != len(self.knots) + 2 or any(a > b for a, b in pairwise(rows)):
                raise ValueError(
                    f"the rows of stratum {stratum.id} must not fall from knot to knot"
                )
        return self

    @property
    def from_window(self) -> int:
        """The first window that it plans; a segment's are not from 0."""
        return self.continues.from_window if self.continues else 0

    @property
    def taus(self) -> str:
        """`0.7`, or `0.7 to 0.3` where tau changes over the phase."""
        return taus(self.tau, self.tau_end)

    def sealed(self) -> Manifest:
        """Self with its id."""
        content = self.model_dump(mode="json", exclude={"id", "shard_table"})
        return self.model_copy(update={"id": content_id(content)})


def url_of(store: Store, manifest: Manifest) -> str:
    """Where a manifest lies or would lie."""
    return join(
        store.url, "manifests", manifest.recipe, manifest.phase, manifest.id, "manifest.json"
    )


def publish(store: Store, manifest: Manifest, shards: pa.Table) -> str:
    """Write the shard table, then the manifest; returns its URL."""
    url = url_of(store, manifest)
    folder = url.rsplit("/", 1)[0]
    sink = io.BytesIO()
    with ipc.new_file(sink, SHARDS) as writer:
        writer.write_table(shards.cast(SHARDS).combine_chunks())
    write_bytes(join(folder, "shards.arrow"), sink.getvalue())
    table = {"shard_table": sha256(sink.getvalue())}
    write_json(url, manifest.model_dump(mode="json") | table)
    return url


def name_manifest(store: Store, manifest: Manifest, name: str) -> None:
    """Point a name at a manifest; naming another one replaces it."""
    write_json(
        join(store.url, "manifests", manifest.recipe, manifest.phase, f"{name}.json"),
        {"manifest": manifest.id},
    )


def load(url: str) -> Manifest:
    return Manifest.model_validate_json(read_bytes(url))


def load_shards(manifest_url: str) -> pa.Table:
    """The shard table (SHARDS schema) beside a manifest."""
    folder = manifest_url.rsplit("/", 1)[0]
    return ipc.open_file(io.BytesIO(read_bytes(join(folder, "shards.arrow")))).read_all()


def store_of(manifest_url: str) -> Store:
    """The store that a manifest lies in: manifests/<recipe>/<phase>/<id>/manifest.json."""
    return Store.at(manifest_url.rsplit("/", 5)[0])
