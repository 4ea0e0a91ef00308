"""Evaluation files, as far as contamination needs them: every text that stands in them.

    .jsonl .json    every string value         .parquet    every value of string columns
    .tsv .csv       every field                any other   every line; all of them also .gz or .zst

What is short (labels, ids) is left to the rule of pipelines/contamination.py.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.digest import Json, sha256
from schemas.errors import UserError
from schemas.store import read_bytes


def find_files(places: Sequence[str], key: str) -> dict[str, bytes]:
    """URL -> bytes of the files that paths, URLs and globs name; raises as `list_files` does."""
    return {url: read_bytes(url) for url in list_files(places, key)}


def list_files(places: Sequence[str], key: str) -> list[str]:
    """URLs of the files that paths, URLs and globs name; UserError where one names none.

    `key` is what the recipe calls them.
    """
    files: list[str] = []
    for place in places:
        fs, path = fsspec.core.url_to_fs(place)
        found = sorted(found for found in fs.glob(path) if fs.isfile(found))
        if not found:
            raise UserError(
                f"{key}: {place} names no file; mend it, or quote a glob so that the shell leaves "
                "it alone"
            )
        files += map(fs.unstrip_protocol, found)
    return files


def digest_of(files: dict[str, bytes]) -> list[str]:
    """What identifies files by their content alone."""
    return sorted(map(sha256, files.values()))


def texts_of(url: str, data: bytes) -> Iterator[str]:
    """Every text of an evaluation file; UserError when it is not what its name says."""
    name = url.rsplit("/", 1)[1]
    try:
        if name.endswith(".gz"):
            name, data = name.removesuffix(".gz"), gzip.decompress(data)
        elif name.endswith(".zst"):
            import zstandard

            name = name.removesuffix(".zst")
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        yield from _texts(name, data)
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"exclusions.contamination: {url} cannot be read ({error}); mend it or leave it out"
        ) from error


def _texts(name: str, data: bytes) -> Iterator[str]:
    suffix = name.rsplit(".", 1)[-1]
    if suffix == "parquet":
        table = pq.ParquetFile(io.BytesIO(data)).read()
        for column in table.columns:
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                yield from (value for value in column.to_pylist() if value)
        return
    text = data.decode("utf-8-sig")
    if suffix == "json":
        yield from _strings(json.loads(text))
    elif suffix == "jsonl":
        for line in filter(str.strip, text.splitlines()):
            yield from _strings(json.loads(line))
    elif suffix == "tsv":  # tabs part the fields, and quotes are text
        for line in text.splitlines():
            yield from line.split("\t")
    elif suffix == "csv":
        for row in csv.reader(io.StringIO(text)):
            yield from row
    else:
        yield from text.splitlines()


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
