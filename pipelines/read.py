"""Raw files to records, without losing one: a reader for each schema of a source.

In: a file. Out: its records, in order, each with its text or with the reason why it has none, and
what cannot be read (pipelines/record.py). Lines and rows come from pipelines/json_lines.py and
pipelines/parquet_rows.py; here stands where each data set keeps text, id, url and scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from pipelines.inventory import InputFile
from pipelines.json_lines import JsonRow, read_json_lines, string, value_at
from pipelines.parquet_rows import lenient, read_parquet
from pipelines.record import FileRead, Record, finite
from schemas.text import Fields

Reader = Callable[[InputFile, FileRead], Iterator[Record]]


def read_fineweb2(file: InputFile, told: FileRead) -> Iterator[Record]:
    """FineWeb2's Parquet: text, id, url, language_score, ..."""
    columns = {name: name for name in ("id", "url", "language_score")}
    for record, row in read_parquet(file, told, columns):
        record.native_id = lenient(row.get("id")) or None
        record.url = lenient(row.get("url"))
        score = row.get("language_score")
        record.language_score = score if isinstance(score, float) else None
        yield record


def read_dclm(file: InputFile, told: FileRead) -> Iterator[Record]:
    """DCLM's JSON lines: text, url or metadata.WARC-Target-URI, metadata.WARC-Record-ID, score."""
    for record, row in read_json_lines(file, told):
        metadata = _metadata(row)
        record.native_id = string(metadata.get("WARC-Record-ID")) or None
        record.url = string(row.get("url")) or string(metadata.get("WARC-Target-URI"))
        score = row.get("fasttext_openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train_prob")
        record.quality_score = finite(score)
        yield record


def read_dolmino(file: InputFile, told: FileRead) -> Iterator[Record]:
    """Dolmino's JSON lines: id, text, metadata.url."""
    for record, row in read_json_lines(file, told):
        record.native_id = string(row.get("id")) or None
        record.url = string(_metadata(row).get("url"))
        yield record


def _metadata(row: JsonRow) -> JsonRow:
    metadata = row.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def read_documents(file: InputFile, told: FileRead, fields: Fields) -> Iterator[Record]:
    """Any Parquet or JSON lines, their parts where `fields` say they are.

    An id may be a number; a record without one is named by its place. A record that says, at
    `fields.language`, another language than `fields.label` is dropped as other_language: a file of
    several languages is read once for each, as a source each.
    """
    columns = {"id": fields.id, "url": fields.url, "score": fields.score}
    if fields.language:
        columns["language"] = fields.language
    rows: Iterator[tuple[Record, Mapping[str, object]]]
    if file.relative.endswith(".parquet"):
        rows = read_parquet(file, told, columns, fields.texts)
    else:
        lines = read_json_lines(file, told, fields.texts)
        rows = ((r, {n: value_at(line, k) for n, k in columns.items()}) for r, line in lines)
    for record, row in rows:
        identity, score = row.get("id"), row.get("score")
        whole = isinstance(identity, int) and not isinstance(identity, bool)
        record.native_id = str(identity) if whole else _spelled(identity) or None
        record.url = _spelled(row.get("url"))
        record.quality_score = finite(score)
        label = _spelled(row.get("language"))
        if fields.language and record.reason is None and label != fields.label:
            record.reason, record.detail = "other_language", label[:100]
        yield record


def _spelled(value: object) -> str:
    return string(value) or lenient(value)


READERS: dict[str, Reader] = {
    "fineweb2": read_fineweb2,
    "dclm": read_dclm,
    "dolmino": read_dolmino,
}


def reader_of(layout: str, fields: Fields) -> Reader:
    """The reader of a source's format; `fields` count for documents alone."""
    return partial(read_documents, fields=fields) if layout == "documents" else READERS[layout]
