"""A manifest: everything that decides what one phase delivers, and in which order.

JSON, small enough to diff; beside it `shards.arrow`, one row a shard. Written once, last. Targets
q(l) are tokens of the pool and sum to `pool_tokens` exactly; `rows` K(l) are what the phase
delivers over its whole budget. BOS and EOS count as tokens everywhere in a manifest.
"""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.ipc as ipc
from pydantic import Field

from schemas.digest import content_id, sha256
from schemas.exclusions import ExclusionRef
from schemas.ledger import Frozen, Ledger
from schemas.store import Store, join, read_bytes, write_bytes, write_json

ORDER_VERSION = 1  # the arithmetic of order, packs and masks; bumped when any of it changes

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
    max_epochs: float
    min_tokens: int = 0
    weight_by: str = "language"
    pool_tokens: int
    budget_tokens: int
    packing: Packing
    windows: int  # N
    languages: tuple[LanguageShare, ...]
    strata: tuple[StratumShare, ...]
    absent: tuple[Absence, ...] = ()
    exclusions: tuple[ExclusionRef, ...] = ()
    ledger: Ledger  # of all its strata, unreadable spans left to the strata
    shard_table: str = ""  # sha256 of shards.arrow, whose content follows from the rest

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
