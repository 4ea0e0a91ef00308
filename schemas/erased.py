"""What was erased of a stratum: `erased.json` beside its stratum.json, where anything was.

Tokens of erased documents are overwritten in place, so a shard keeps its name, its size and its
rows, and its bytes are no longer those that the name tells of. This file says which they are now.
It is written before the first byte is overwritten: an erasure that was cut off is seen and done
again.
"""

from __future__ import annotations

from pydantic import Field

from schemas.ledger import Frozen
from schemas.shard import digest_of
from schemas.store import exists, join, read_bytes, write_json

NAME = "erased.json"


class ErasedShard(Frozen):
    """`before` is the digest of the shard as it was built, `after` of what it is now (sha256)."""

    before: str
    after: str
    documents: tuple[int, ...]  # places in the shard


class Erased(Frozen):
    shards: dict[str, ErasedShard] = Field({}, description="by file name")

    def digest_now(self, name: str) -> str:
        """What the sha256 of a shard's bytes begins with, by its file name: all or 16 digits."""
        gone = self.shards.get(name)
        return gone.after if gone else digest_of(name)


def load(folder: str) -> Erased:
    """Of a stratum's folder; nothing where nothing was erased."""
    url = join(folder, NAME)
    return parse(read_bytes(url)) if exists(url) else Erased()


def parse(data: bytes) -> Erased:
    return Erased.model_validate_json(data)


def save(folder: str, erased: Erased) -> None:
    write_json(join(folder, NAME), erased.model_dump(mode="json"))
