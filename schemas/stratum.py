"""A stratum = (source, language, tier): the unit of building and of reuse.

`stratum.json` is written last and *is* the commit: shards without it do not exist. Its id covers
the content that matters (input digests, filters, tokenizer, step version), never a path or a time.
Shards carry their digests in their names; those of the rest stand in `drops` and `checksum`.
"""

from __future__ import annotations

from schemas.digest import Json, content_id, sha256
from schemas.ledger import Frozen, Ledger
from schemas.rows import CONTEXTS, RowCount
from schemas.store import Store, exists, join, read_bytes, write_json

HELDOUT = "heldout"  # the tier that no phase can train on
TRAIN = "all"  # the tier of a source that has none of its own


class StratumName(Frozen):
    """`fineweb2/fao_Latn/all`; the source of a subset is written `dolmino/math`."""

    source: str
    language: str  # lang_Script
    tier: str = TRAIN

    @property
    def code(self) -> str:
        """ISO 639-3."""
        return self.language.split("_")[0]

    def __str__(self) -> str:
        return f"{self.source}/{self.language}/{self.tier}"


class ContextRows(Frozen):
    """Rows at one context; tokens count BOS and EOS."""

    rows: int
    tokens: int
    dropped_tail_tokens: int
    tokens_squared: int

    def count(self) -> RowCount:
        return RowCount(self.rows, self.tokens, self.dropped_tail_tokens, self.tokens_squared)


class ShardEntry(Frozen):
    name: str
    documents: int
    tokens: int
    rows: dict[int, ContextRows]  # by context


class Stratum(Frozen):
    """`stratum.json`."""

    format_version: int = 1
    id: str
    name: StratumName
    tokenizer: str
    vocab_size: int
    ledger: Ledger
    shards: tuple[ShardEntry, ...]
    made_from: dict[
        str, str | int | float | bool | None
    ]  # to read: what the id covers, and licences
    drops: str = ""  # sha256 of dropped.parquet
    checksum: str = ""  # content id of all the rest

    def rows(self, context: int) -> RowCount:
        assert context in CONTEXTS, context
        return sum((s.rows[context].count() for s in self.shards), RowCount(0, 0, 0))

    @property
    def tokens(self) -> int:
        return sum(shard.tokens for shard in self.shards)


def stratum_folder(store: Store, name: StratumName, identity: str) -> str:
    return join(store.url, "strata", str(name), identity)


def stratum_id(name: StratumName, made_from: Json) -> str:
    return content_id({"stratum": str(name), "made_from": made_from})


def publish(folder: str, stratum: Stratum) -> Stratum:
    """Commit a stratum; its shards and table of drops must lie there already.

    Returns it as it stands on disk. Raises LedgerError when its ledger does not close.
    """
    stratum.ledger.check(str(stratum.name))
    drops = sha256(read_bytes(join(folder, "dropped.parquet")))
    content = stratum.model_copy(update={"drops": drops}).model_dump(mode="json")
    del content["checksum"]
    content["checksum"] = content_id(content)
    write_json(join(folder, "stratum.json"), content)
    return Stratum.model_validate(content)


def load(folder: str) -> Stratum | None:
    """The committed stratum of a folder, or None when there is none."""
    url = join(folder, "stratum.json")
    if not exists(url):
        return None
    return Stratum.model_validate_json(read_bytes(url))
