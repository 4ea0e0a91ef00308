"""Strata, re-read: shards against their names, rows and ledger against the shards.

In: folders of strata. Out: those whose stratum.json can be trusted. Of a shard that has changed the
first document is named in which that shows: a token beyond the vocabulary, a key out of order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipelines.imported import LAYOUT
from pipelines.verify.findings import Findings
from schemas import erased
from schemas.digest import ID_LENGTH, content_id, sha256
from schemas.erased import ErasedShard
from schemas.errors import UserError
from schemas.ledger import LedgerError
from schemas.rows import CONTEXTS, count_rows
from schemas.shard import DOCUMENTS, Shard, ShardMeta, digest_of, parse_shard
from schemas.store import exists, join
from schemas.stratum import ContextRows, ShardEntry, Stratum

THREADS = 8  # that read and hash; each holds one shard, 64 MB and more
ERASE_AGAIN = "run the same `mmbert data erase` again"
NOT_AS_WRITTEN = "its content is not what its checksum tells of"


@dataclass(frozen=True)
class ReadShard:
    """What one shard turned out to be."""

    size_bytes: int
    text_bytes: int
    wrong: str = ""
    error: OSError | None = None


def check_strata(findings: Findings, folders: Iterable[str]) -> dict[str, Stratum]:
    """The strata of these folders (URL -> stratum) whose stratum.json is as it was written."""
    strata = {url: found for url in folders if (found := _load(findings, url)) is not None}
    gone = {url: _erased(findings, url, stratum) for url, stratum in strata.items()}
    jobs = [
        (url, stratum, entry, gone[url].get(entry.name))
        for url, stratum in strata.items()
        for entry in stratum.shards
    ]
    findings.total_bytes = max(
        findings.total_bytes, sum(4 * stratum.tokens for stratum in strata.values())
    )
    text_bytes: Counter[str] = Counter()
    damaged: set[str] = set()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for (url, stratum, entry, _), read in zip(jobs, pool.map(_read, jobs), strict=True):
            shard = join(url, entry.name)
            text_bytes[url] += read.text_bytes
            if read.error:
                findings.unreadable(shard, read.error, _mend(findings, url, stratum))
            else:
                findings.count(read.size_bytes)
            if read.wrong:
                findings.problem(shard, read.wrong, _mend(findings, url, stratum))
            if read.error or read.wrong:
                damaged.add(url)
    finally:
        pool.shutdown(cancel_futures=True)
    for url, stratum in strata.items():
        _check_ledger(findings, url, stratum, None if url in damaged else text_bytes[url])
    return strata


def _mend(findings: Findings, folder: str, stratum: Stratum | None = None) -> str:
    imported = stratum is not None and stratum.made_from.get("layout") == LAYOUT
    again = "import it again with `mmbert import-mds`" if imported else "run `mmbert data` again"
    return f"delete the folder {findings.store.relative(folder)} and {again}"


def _load(findings: Findings, folder: str) -> Stratum | None:
    url, mend = join(folder, "stratum.json"), _mend(findings, folder)
    content = findings.record(url, mend)
    if content is None:
        return None
    try:
        stratum = Stratum.model_validate(content)
    except ValidationError as error:
        findings.problem(url, f"is no stratum.json: {error.errors()[0]['msg']}", mend)
        return None
    if not stratum.checksum:
        findings.num_undigested += 1
    elif stratum.checksum != content_id({k: v for k, v in content.items() if k != "checksum"}):
        findings.problem(url, NOT_AS_WRITTEN, mend)
        return None
    if findings.store.relative(folder) != f"strata/{stratum.name}/{stratum.id}":
        findings.problem(url, f"belongs into strata/{stratum.name}/{stratum.id}", mend)
    return stratum


def _check_ledger(
    findings: Findings, folder: str, stratum: Stratum, text_bytes: int | None
) -> None:
    """read = kept + dropped, kept as the shards have it and dropped as the table lists it."""
    mend = _mend(findings, folder, stratum)
    url, ledger = join(folder, "stratum.json"), stratum.ledger
    try:
        ledger.check(str(stratum.name))
    except LedgerError as error:
        findings.problem(url, str(error), mend)
    held = {
        "documents": (ledger.kept, sum(entry.documents for entry in stratum.shards)),
        "tokens": (ledger.kept_tokens, stratum.tokens),
    }
    if text_bytes is not None:
        held["bytes of text"] = (ledger.kept_bytes, text_bytes)
    for what, (told, found) in held.items():
        if told != found:
            wrong = f"its ledger kept {told:,} {what}, its shards hold {found:,}"
            findings.problem(url, wrong, mend)

    drops = join(folder, "dropped.parquet")
    data = findings.read(drops, mend)
    if data is None:
        return
    if stratum.drops and sha256(data) != stratum.drops:
        findings.problem(drops, "its sha256 is not that of stratum.json", mend)
        return
    try:
        reasons = pq.read_table(BytesIO(data), columns=["reason"]).column("reason").to_pylist()
    except (pa.ArrowException, OSError) as error:
        findings.problem(drops, f"cannot be read as Parquet ({error})", mend)
        return
    if Counter(reasons) != ledger.dropped:
        wrong = f"it lists {len(reasons):,} drops, the ledger {sum(ledger.dropped.values()):,}"
        findings.problem(drops, f"{wrong}, or for other reasons", mend)


def _erased(findings: Findings, folder: str, stratum: Stratum) -> dict[str, ErasedShard]:
    """What was erased of a stratum, by shard."""
    url = join(folder, erased.NAME)
    if not exists(url):
        return {}
    content = findings.record(url, ERASE_AGAIN)
    try:
        shards = erased.Erased.model_validate(content).shards
    except ValidationError as error:
        findings.problem(url, f"is no record of erasures: {error.errors()[0]['msg']}", ERASE_AGAIN)
        return {}
    for name in shards.keys() - {entry.name for entry in stratum.shards}:
        findings.problem(url, f"tells of {name}, which the stratum has not", ERASE_AGAIN)
    return shards


def _erasure_fails(shard: Shard, entry: ErasedShard, name: str, digest: str) -> str:
    """Why a shard is not what was left of it, or "" when it is."""
    if entry.before != digest_of(name) or digest != entry.after:
        return f"its bytes are not those that {erased.NAME} tells of: {ERASE_AGAIN}"
    for document in entry.documents:
        tokens = shard.document(document) if document < shard.lengths.size else shard.tokens
        if np.unique(tokens).size > 1:
            return f"document {document} is not erased, as {erased.NAME} tells: {ERASE_AGAIN}"
    return ""


def _read(job: tuple[str, Stratum, ShardEntry, ErasedShard | None]) -> ReadShard:
    folder, stratum, entry, gone = job
    url = join(folder, entry.name)
    try:
        # Not mapped: a page that the disk cannot give would end the process without a word.
        with fsspec.open(url, "rb") as file:
            data = file.read()
    except OSError as error:
        return ReadShard(0, 0, error=error)
    digest = sha256(data)
    as_named = digest[:ID_LENGTH] == digest_of(entry.name)
    try:
        shard = parse_shard(url, pa.BufferReader(data))
        shard.table.validate(full=True)
    except (UserError, pa.ArrowException, KeyError, ValueError, OSError) as error:
        return ReadShard(len(data), 0, f"is no shard any more ({type(error).__name__})")
    if not shard.table.schema.equals(DOCUMENTS, check_metadata=False):
        return ReadShard(len(data), 0, "is no shard any more (it has other columns)")
    wrong = _compare(shard, stratum, entry)
    if gone is not None:
        wrong = wrong or _erasure_fails(shard, gone, entry.name, digest)
    elif not as_named:
        wrong = "its bytes are not those that its name tells of" + (wrong and f" ({wrong})")
    return ReadShard(len(data), pc.sum(shard.table.column("num_bytes")).as_py() or 0, wrong)


def _compare(shard: Shard, stratum: Stratum, entry: ShardEntry) -> str:
    """The first thing in which a shard is not what stratum.json says, or "" where there is none."""
    if shard.meta != ShardMeta(stratum.tokenizer, stratum.vocab_size, str(stratum.name)):
        return f"it says that it is {shard.meta.stratum} by tokenizer {shard.meta.tokenizer[:16]}"
    lengths = shard.lengths
    told = {c: entry.rows[c] for c in CONTEXTS if c in entry.rows}
    rows = {c: ContextRows(**asdict(count_rows(lengths, c))) for c in told}
    if (lengths.size, int(lengths.sum()), rows) != (entry.documents, entry.tokens, told):
        return (
            f"it holds {lengths.size:,} documents of {int(lengths.sum()):,} tokens, stratum.json "
            f"says {entry.documents:,} of {entry.tokens:,}, or cuts them into other rows"
        )
    if shard.tokens.max(initial=0) >= stratum.vocab_size:
        place = int(np.argmax(shard.tokens >= stratum.vocab_size))
        document = int(np.searchsorted(shard.offsets, place, side="right")) - 1
        token = shard.tokens[place]
        return f"document {document}, {_name(shard, document)}, has token {token:,} of none"
    keys = shard.table.column("key").to_numpy()
    falling = np.flatnonzero(keys[1:] < keys[:-1])
    if falling.size:
        document = int(falling[0])
        return f"document {document}, {_name(shard, document)}, or the next is out of order"
    return ""


def _name(shard: Shard, document: int) -> str:
    return str(shard.table.column("doc_id")[document].as_py())
