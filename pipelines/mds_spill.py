"""The import's map step: MDS shards -> spills, as the map step for raw text leaves them.

A sample is a document: BOS at its beginning and EOS at its end come off, since rows get theirs when
they are read. `read` is what index.json counts; a sample that cannot be read, is empty or has a
special token inside is dropped with that reason. There is no text, so its hash is that of the
tokens (uint32, little-endian), and its bytes are those of the tokens' pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from numpy.typing import NDArray

from pipelines import mds
from pipelines import spill as spills
from pipelines.map import token_column
from pipelines.mds import MdsShard
from pipelines.spill import Spill
from schemas.doc_names import document_key
from schemas.errors import UserError
from schemas.ledger import DROPS
from schemas.seal import Seal


@dataclass(frozen=True)
class SpillShard:
    """One MDS shard with the place of its spill."""

    shard: MdsShard
    file_index: int
    spill_id: str
    folder: str


class SpillShards(PipelineStep):
    """One spill for each of this task's MDS shards: the import's map step."""

    name = "mds"
    type = "📦 - IMPORT"

    def __init__(
        self,
        tasks: Sequence[Sequence[SpillShard]],
        source: str,
        sealed: Seal,
        piece_bytes: NDArray[np.int64],
        seed: int,
    ) -> None:
        super().__init__()
        self.tasks = tasks
        self.source = source
        self.sealed = sealed
        self.piece_bytes = piece_bytes
        self.seed = seed

    def run(
        self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        for item in self.tasks[rank]:
            self._spill(item)
            yield Document(text="", id=item.folder)

    def _spill(self, item: SpillShard) -> None:
        samples = mds.read_shard(item.shard)
        places = sorted(samples.tokens)
        bodies = [self._body(samples.tokens[place]) for place in places]
        lengths = np.array([body.size for body in bodies], np.int64)
        ends = np.cumsum(lengths)
        tokens = np.concatenate([*bodies, np.zeros(0, np.int64)])
        self._check_vocabulary(tokens, item.shard)
        is_special = np.zeros(self.sealed.vocab_size, bool)
        is_special[list(self.sealed.special.ids())] = True
        specials = _sums(is_special[tokens], ends, lengths)
        num_bytes = _sums(self.piece_bytes[tokens], ends, lengths)

        reasons = dict.fromkeys(samples.broken, "unreadable")
        for place, length, inside in zip(places, lengths, specials, strict=True):
            if not length or inside:
                reasons[place] = "special_token" if inside else "no_tokens"
        sizes = dict(zip(places, num_bytes.tolist(), strict=True))
        native = {
            place: samples.ids.get(place) or f"{item.shard.relative}#{place}"
            for place in [*places, *samples.broken]
        }
        kept = np.array([place not in reasons for place in places], bool)
        table = self._table(item, places, bodies, native, num_bytes).filter(pa.array(kept))
        parts = [spills.write_part(item.folder, 0, table)] if table.num_rows else []
        dropped: list[dict[str, str | int]] = [
            {
                "doc_id": f"{self.source}:{native[place]}",
                "reason": reason,
                "file": item.shard.relative,
                "record": place,
                "num_bytes": sizes.get(place, 0),
                "detail": samples.broken.get(place, ""),
            }
            for place, reason in sorted(reasons.items())
        ]
        spill = Spill(
            id=item.spill_id,
            read=item.shard.num_samples,
            parts=tuple(parts),
            dropped=len(dropped),
        )
        spills.commit(item.folder, spill, pa.Table.from_pylist(dropped, DROPS))

    def _body(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """A chunk without the BOS it begins and the EOS it ends with."""
        special = self.sealed.special
        start = int(tokens.size > 0 and tokens[0] == special.bos)
        end = tokens.size - int(tokens.size > start and tokens[-1] == special.eos)
        return tokens[start:end]

    def _check_vocabulary(self, tokens: NDArray[np.int64], shard: MdsShard) -> None:
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < self.sealed.vocab_size:
            raise UserError(
                f"{shard.url} has token ids from {tokens.min()} to {tokens.max()}, a vocabulary of "
                f"at least {tokens.max() + 1:,} pieces, but tokenizer {self.sealed.digest[:16]} "
                f"has {self.sealed.vocab_size:,}: name the one that the shards were made with"
            )

    def _table(
        self,
        item: SpillShard,
        places: Sequence[int],
        bodies: Sequence[NDArray[np.int64]],
        native: dict[int, str],
        num_bytes: NDArray[np.int64],
    ) -> pa.Table:
        """Every readable sample as a spill has it (PART schema)."""
        narrow = [body.astype("<u4") for body in bodies]
        lengths = np.array([body.size for body in bodies], np.int64)
        count = len(places)
        columns = {
            "key": [document_key(self.seed, f"{self.source}:{native[p]}") for p in places],
            "file": np.full(count, item.file_index, np.int32),
            "record": places,
            "native_id": [native[place] for place in places],
            "text_hash": [xxhash.xxh3_128_digest(body.tobytes()) for body in narrow],
            "group": np.zeros(count, np.uint64),
            "bands": [[]] * count,
            "score": [None] * count,
            "num_tokens": lengths,
            "num_bytes": num_bytes,
            "repaired": np.zeros(count, bool),
            "url": [""] * count,
        }
        arrays = [pa.array(columns[field.name], field.type) for field in spills.META]
        tokens = token_column(np.concatenate([*narrow, np.zeros(0, np.uint32)]), lengths)
        return pa.Table.from_arrays([*arrays, tokens], schema=spills.PART)


def _sums(
    values: NDArray[np.int64] | NDArray[np.bool_],
    ends: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Sums over consecutive runs of `values` that end at `ends`."""
    until = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return until[ends] - until[ends - lengths]
