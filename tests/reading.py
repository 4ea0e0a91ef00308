"""Files that are read in a test, sound and broken, and what comes out of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from pipelines.inventory import InputFile
from pipelines.read import read_dolmino
from pipelines.record import FileRead, Record
from tests import corpora

both = pytest.mark.parametrize("suffix", ["gz", "zst"])


def input_file(path: Path) -> InputFile:
    return InputFile(str(path), path.name, path.stat().st_size)


def packed(suffix: str, data: bytes) -> bytes:
    """One gzip member, or one zstd frame with its checksum."""
    if suffix == "gz":
        return gzip.compress(data, mtime=0)
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def dolmino_lines(name: str, count: int) -> bytes:
    rows = [{"id": f"{name}-{i}", "text": t} for i, t in enumerate(corpora.sentences(name, count))]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read_stream(folder: Path, suffix: str, data: bytes) -> tuple[list[Record], FileRead]:
    """What the reader makes of a stream; its spans lie in the file and none is void."""
    path = folder / f"x.json.{suffix}"
    path.write_bytes(data)
    told = FileRead()
    records = list(read_dolmino(input_file(path), told))
    assert [r.number for r in records] == list(range(told.num_read))
    for span in told.unreadable:
        assert span.file == path.name
        assert 0 <= span.offset < span.offset + span.length <= len(data)
    return records, told
