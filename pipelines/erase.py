"""Erase: overwrite the tokens of documents in place, wherever they lie in a store.

In: doc ids or URLs. Each token of these documents becomes the unknown token in their shards, so
rows, offsets and names stay as they are and every manifest still holds. Both digests of a changed
shard are written down first (schemas/erased.py). Spills that may hold them are deleted. Raw text is
not touched: a takedown list in the recipe keeps a document out of what is mixed from then on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import spill as spills
from schemas import erased as records
from schemas import exclusions
from schemas import manifest as manifests
from schemas import run as runs
from schemas.digest import sha256
from schemas.doc_names import documents_named
from schemas.erased import ErasedShard
from schemas.errors import UserError
from schemas.find_manifest import all_manifests
from schemas.progress import Progress, silent
from schemas.seal import Seal, seal_folder
from schemas.shard import Shard, digest_of, open_shard, parse_shard
from schemas.store import Store, join, local_path, read_bytes, write_bytes


@dataclass(frozen=True)
class ErasedDocument:
    doc_id: str
    url: str
    stratum: str  # source/language/tier
    shard: str  # URL
    num_tokens: int


@dataclass(frozen=True)
class Holder:
    """A manifest over an erased document: how many it delivers, and the runs that train with it."""

    manifest: str  # relative to the store
    documents: int  # that it does not exclude
    excluded: int
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Erasure:
    documents: tuple[ErasedDocument, ...]
    unknown: tuple[str, ...]  # names that no document has
    spills: int  # that may have held them and were deleted
    holders: tuple[Holder, ...]


def erase(store: Store, names: Sequence[str], progress: Progress = silent) -> Erasure:
    """Overwrite every document that has one of these doc ids or URLs.

    What was erased before is found again, so that an erasure that was cut off is done to its end.
    Raises UserError when no stratum and no spill has any of them.
    """
    wanted = pa.array(sorted(set(names)), pa.large_string())
    places = list(_files(store, "strata", "shard-*.arrow"))
    documents: list[ErasedDocument] = []
    shards: dict[str, list[int]] = {}
    known: set[str] = set()
    for number, url in enumerate(places):
        progress("shards", number, len(places))
        shard = open_shard(url)
        found = documents_named(shard.table, wanted)
        if found:
            told = [_document(url, shard, place) for place in found]
            documents += told
            known |= {name for d in told for name in (d.doc_id, d.url, *_ids(d.doc_id))}
            shards[digest_of(url)] = found
            del shard
            _erase_shard(store, url, found)
    spilled = _remove_spills(store, wanted)
    if not documents and not spilled:
        raise UserError(
            f"no document of {store.url} has any of these {len(names):,} ids or URLs; give the id "
            "that the data set has, or the URL, one an argument or a line of a file"
        )
    unknown = tuple(name for name in dict.fromkeys(names) if name not in known)
    return Erasure(tuple(documents), unknown, spilled, tuple(_holders(store, shards)))


def _ids(doc_id: str) -> tuple[str, str]:
    """A doc id without the number of its repeat, and as the data set writes it."""
    first = re.sub(r"~\d+$", "", doc_id)
    return first, first.partition(":")[2]


def _files(store: Store, top: str, name: str) -> Iterator[str]:
    fs, path = fsspec.core.url_to_fs(join(store.url, top))
    prefix = len(path.rstrip("/"))
    for found in sorted(fs.glob(f"{path}/**/{name}")):
        yield join(store.url, top) + found[prefix:]


def _document(url: str, shard: Shard, place: int) -> ErasedDocument:
    doc_id, address = (str(shard.table.column(n)[place].as_py()) for n in ("doc_id", "url"))
    length = int(shard.lengths[place])
    return ErasedDocument(doc_id, address, shard.meta.stratum, url, length)


def _erase_shard(store: Store, url: str, documents: Sequence[int]) -> None:
    folder, name = url.rsplit("/", 1)
    data = bytearray(read_bytes(url))
    shard = parse_shard(url, pa.BufferReader(pa.py_buffer(data)))
    spans = _overwrite(data, shard.tokens, shard.offsets, documents, _unknown(store, shard))
    del shard
    record = records.load(folder)
    earlier = record.shards.get(name)
    entry = ErasedShard(
        before=earlier.before if earlier else digest_of(name),
        after=sha256(bytes(data)),
        documents=tuple(sorted({*documents, *(earlier.documents if earlier else ())})),
    )
    if entry != earlier:
        shards = record.shards | {name: entry}
        records.save(folder, record.model_copy(update={"shards": shards}))
    _write_spans(url, data, spans)


def _unknown(store: Store, shard: Shard) -> int:
    seal_json = join(seal_folder(store.url, shard.meta.tokenizer), "seal.json")
    return Seal.model_validate_json(read_bytes(seal_json)).special.unk


def _overwrite(
    data: bytearray, tokens: np.ndarray, offsets: np.ndarray, documents: Sequence[int], token: int
) -> list[tuple[int, int]]:
    """Replace tokens in a file's bytes, of which `tokens` is a view; the spans that changed."""
    base = np.frombuffer(data, np.uint8).ctypes.data
    spans = []
    for document in documents:
        start = tokens.ctypes.data - base + 4 * int(offsets[document])
        length = 4 * int(offsets[document + 1] - offsets[document])
        data[start : start + length] = np.full(length // 4, token, np.uint32).tobytes()
        spans.append((start, length))
    return spans


def _write_spans(url: str, data: bytearray, spans: Sequence[tuple[int, int]]) -> None:
    """In place on a disk, so that the old bytes are gone; an object store takes the file anew."""
    path = local_path(url)
    if path is None:
        write_bytes(url, bytes(data))
        return
    with path.open("r+b") as file:
        for start, length in spans:
            file.seek(start)
            file.write(data[start : start + length])
        file.flush()
        os.fsync(file.fileno())


def _remove_spills(store: Store, wanted: pa.Array) -> int:
    """Delete every spill that may hold one of the documents: it can be made again of its file."""
    # `source:native id`, and `~2` behind it where the id occurred before.
    first = pc.replace_substring_regex(wanted, r"~\d+$", "")
    natives = pa.concat_arrays([first, pc.replace_substring_regex(first, "^[^:]*:", "")])
    folders = set()
    for url in _files(store, "spills", "part-*.arrow"):
        folder, name = url.rsplit("/", 1)
        table = spills.read_part(folder, name, ["native_id", "url"])
        hits = pc.or_(
            pc.is_in(table.column("native_id"), value_set=natives),
            pc.is_in(table.column("url"), value_set=wanted),
        )
        if pc.any(hits).as_py():
            folders.add(folder)
    for folder in folders:
        store.remove(folder)
    return len(folders)


def _holders(store: Store, erased: dict[str, list[int]]) -> Iterator[Holder]:
    """The manifests that name the shards (digest -> documents), and the runs over them."""
    over: dict[str, list[str]] = {}
    for url in _files(store, "runs", "run.json"):
        for phase in runs.load(url).phases:
            for name in {phase.manifest, phase.current}:
                over.setdefault(name, []).append(url.split("/")[-2])
    for url in all_manifests(store):
        manifest = manifests.load(url)
        named = set(manifests.load_shards(url).column("digest").to_pylist()) & erased.keys()
        mine = {(digest, document) for digest in named for document in erased[digest]}
        if not mine:
            continue
        gone: set[tuple[str, int]] = set()
        for ref in manifest.exclusions:
            table = exclusions.load(store, ref)
            columns = (table.column(name).to_pylist() for name in ("shard", "document"))
            gone |= mine & set(zip(*columns, strict=True))
        relative = store.relative(url)
        trained = tuple(over.get(relative, ()))
        yield Holder(relative, len(mine - gone), len(gone), trained)
