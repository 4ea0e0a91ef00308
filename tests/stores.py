"""Small stores for the trainer's tests: strata with shards, a tokenizer seal and a manifest.

Written through `schemas` alone, so the trainer is tested without the pipelines. The tokens of a
document are a pure function of its stratum, shard and place.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from schemas import erased, exclusions, manifest
from schemas.digest import content_id, sha256
from schemas.erased import ErasedShard
from schemas.exclusions import ExclusionRef
from schemas.keyed import key64, keyed, keyed_array
from schemas.ledger import Frozen, Ledger
from schemas.manifest import LanguageShare, Manifest, Packing, StratumShare
from schemas.rows import RowCount, count_rows
from schemas.seal import Seal, SpecialIds, seal_folder
from schemas.shard import DOCUMENTS, ShardMeta, digest_of, write
from schemas.store import Store, join, read_bytes, write_json
from schemas.stratum import StratumName, stratum_folder

TOKENIZER = sha256(b"the tokenizer of the tests")
VOCAB_SIZE = 500
SPECIAL = SpecialIds()

Lengths = Mapping[str, Sequence[Sequence[int]]]  # stratum name -> shards -> document lengths
Documents = Sequence[tuple[str, int, int]]  # (stratum name, shard, document)


class Settings(Frozen):
    """What a manifest says beside its strata."""

    context: int = 128
    packing: Packing = Packing(pack_tokens=1024, max_pieces=64, window_packs=8)
    epochs: float = 1.0  # of every stratum, where `rows` does not say otherwise
    windows: int | None = None
    seed: int = 0
    phase: str = "pretrain"
    mask_rate: float = 0.3
    tokenizer: str = TOKENIZER
    vocab_size: int = VOCAB_SIZE


@dataclass(frozen=True)
class WrittenShard:
    stratum: int
    url: str  # relative to the store
    digest: str
    lengths: np.ndarray


def documents_of(stratum: str, lengths: Sequence[int], first: int = 0) -> pa.Table:
    """Documents of the given lengths; equal (stratum, first + place) gives equal tokens."""
    tokens = [
        _tokens(stratum, first + place, length).astype(np.uint32)
        for place, length in enumerate(lengths)
    ]
    names = [f"{stratum}:{first + place}" for place in range(len(lengths))]
    columns = [
        pa.array(tokens, DOCUMENTS.field("tokens").type),
        names,
        [""] * len(names),
        pa.array([key64(name) for name in names], pa.uint64()),
        [key64(name).to_bytes(16, "little") for name in names],
        [4 * length for length in lengths],
    ]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, DOCUMENTS, strict=True)],
        schema=DOCUMENTS,
    )


def _tokens(stratum: str, document: int, length: int) -> np.ndarray:
    hashes = keyed_array(keyed(key64(stratum), document), np.arange(length, dtype=np.uint64))
    lowest = max(SPECIAL.ids()) + 1
    return lowest + hashes % np.uint64(VOCAB_SIZE - lowest)


def write_shards(
    store: Store, lengths: Lengths, meta: Settings, fixed_digests: bool = False
) -> list[WrittenShard]:
    """The shards of every stratum.

    `fixed_digests` names them by stratum and place instead of by their bytes, which another
    release of pyarrow may change; erased.json says what their bytes are.
    """
    written = []
    for index, (stratum, shards) in enumerate(lengths.items()):
        folder = stratum_folder(store, _name(stratum), _stratum_id(stratum))
        first = 0
        for place, documents in enumerate(shards):
            table = documents_of(stratum, documents, first)
            shard_meta = ShardMeta(meta.tokenizer, meta.vocab_size, stratum)
            name = write(folder, place, len(shards), table, shard_meta)
            if fixed_digests:
                fixed = f"shard-{place:05d}-{content_id([stratum, place])}.arrow"
                os.rename(join(folder, name), join(folder, fixed))
                name, data = fixed, read_bytes(join(folder, fixed))
                gone = ErasedShard(before=digest_of(fixed), after=sha256(data), documents=())
                known = erased.load(folder).shards
                erased.save(folder, erased.Erased(shards=known | {fixed: gone}))
            url = store.relative(join(folder, name))
            written.append(WrittenShard(index, url, digest_of(name), np.array(documents, np.int64)))
            first += len(documents)
    return written


def write_seal(store: Store, tokenizer: str = TOKENIZER, vocab_size: int = VOCAB_SIZE) -> None:
    sealed = Seal(
        digest=tokenizer,
        vocab_size=vocab_size,
        special=SPECIAL,
        prefix_space=False,
        origin="tests",
    )
    write_json(join(seal_folder(store.url, tokenizer), "seal.json"), sealed.model_dump())


def make_manifest(
    root: Path,
    lengths: Lengths,
    settings: Settings | None = None,
    rows: Mapping[str, int] | None = None,
    excluded: Mapping[int, Documents] | None = None,
    fixed_digests: bool = False,
) -> str:
    """A store under `root` with one manifest; returns the manifest's URL.

    rows: quotas K by stratum name; excluded: documents by the window from which they are holes.
    """
    settings, rows, excluded = settings or Settings(), rows or {}, excluded or {}
    store = Store.at(str(root))
    names = list(lengths)
    write_seal(store, settings.tokenizer, settings.vocab_size)
    shards = write_shards(store, lengths, settings, fixed_digests)
    refs = [
        _exclude(store, names, shards, documents, window) for window, documents in excluded.items()
    ]
    gone = {
        window: {(names.index(s), place, document) for s, place, document in documents}
        for window, documents in excluded.items()
    }.get(0, set())
    counts, place_of = [], dict.fromkeys(range(len(names)), 0)
    for shard in shards:
        place = place_of[shard.stratum]
        place_of[shard.stratum] += 1
        kept = [
            (shard.stratum, place, document) not in gone for document in range(shard.lengths.size)
        ]
        counts.append(count_rows(shard.lengths[kept], settings.context))
    strata = [
        _share(store, index, names, shards, counts, rows, settings) for index in range(len(names))
    ]
    budget = sum(round(s.rows * s.tokens_available / max(s.rows_available, 1)) for s in strata)
    window_tokens = settings.packing.pack_tokens * settings.packing.window_packs
    documents = sum(shard.lengths.size for shard in shards)
    made = Manifest(
        recipe="tests",
        phase=settings.phase,
        seed=settings.seed,
        tokenizer=settings.tokenizer,
        vocab_size=settings.vocab_size,
        context=settings.context,
        mask_rate=settings.mask_rate,
        tau=1.0,
        max_epochs=100.0,
        pool_tokens=budget,
        budget_tokens=budget,
        packing=settings.packing,
        windows=settings.windows or max(1, round(budget / window_tokens)),
        languages=tuple(_language(code, strata, budget) for code in _codes(strata)),
        strata=tuple(strata),
        exclusions=tuple(refs),
        ledger=Ledger(read=documents, kept=documents),
    ).sealed()
    table = pa.table(
        {
            "stratum": [shard.stratum for shard in shards],
            "url": [shard.url for shard in shards],
            "digest": [shard.digest for shard in shards],
            "documents": [shard.lengths.size for shard in shards],
            "rows": [count.rows for count in counts],
            "tokens": [count.tokens for count in counts],
        }
    )
    return manifest.publish(store, made, table)


def _name(stratum: str) -> StratumName:
    source, language, tier = stratum.rsplit("/", 2)
    return StratumName(source=source, language=language, tier=tier)


def _stratum_id(stratum: str) -> str:
    return content_id({"stratum": stratum})


def _exclude(
    store: Store,
    names: list[str],
    shards: list[WrittenShard],
    documents: Documents,
    window: int,
) -> ExclusionRef:
    def digest(stratum: str, place: int) -> str:
        mine = [shard for shard in shards if shard.stratum == names.index(stratum)]
        return mine[place].digest

    table = pa.table(
        {
            "shard": [digest(stratum, place) for stratum, place, _ in documents],
            "document": [document for _, _, document in documents],
            "num_tokens": [0] * len(documents),
            "doc_id": [""] * len(documents),
            "reason": ["takedown"] * len(documents),
            "keeper": [""] * len(documents),
        }
    )
    return exclusions.save(store, table).model_copy(update={"from_window": window})


def _share(
    store: Store,
    index: int,
    names: list[str],
    shards: list[WrittenShard],
    counts: list[RowCount],
    rows: Mapping[str, int],
    settings: Settings,
) -> StratumShare:
    name = _name(names[index])
    total = sum(
        (c for shard, c in zip(shards, counts, strict=True) if shard.stratum == index),
        RowCount(0, 0, 0),
    )
    quota = rows.get(names[index], round(settings.epochs * total.rows))
    return StratumShare(
        id=_stratum_id(names[index]),
        folder=store.relative(stratum_folder(store, name, _stratum_id(names[index]))),
        source=name.source,
        language=name.language,
        tier=name.tier,
        rows_available=total.rows,
        tokens_available=total.tokens,
        target_tokens=round(quota * total.tokens / max(total.rows, 1)),
        rows=quota,
    )


def _codes(strata: list[StratumShare]) -> list[str]:
    return sorted({stratum.language.split("_")[0] for stratum in strata})


def _language(code: str, strata: list[StratumShare], budget: int) -> LanguageShare:
    mine = [stratum for stratum in strata if stratum.language.split("_")[0] == code]
    tokens = sum(stratum.target_tokens for stratum in mine)
    return LanguageShare(
        language=code,
        tokens_available=sum(stratum.tokens_available for stratum in mine),
        weight=tokens / max(budget, 1),
        target_tokens=tokens,
        rows=sum(stratum.rows for stratum in mine),
        tokens=tokens,
        tokens_standard_error=0,
        epochs=sum(s.rows for s in mine) / max(sum(s.rows_available for s in mine), 1),
    )
