"""I1, the reader's side: odd, mislabelled and broken files, flipped bytes, records of 50 MB."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.read import read_dolmino, read_fineweb2, reader_of
from pipelines.record import FileRead, Record
from schemas.text import Fields
from tests import corpora
from tests.reading import both, dolmino_lines, input_file, packed, read_stream


def read_lines(folder: Path, data: bytes, name: str = "x.json") -> tuple[list[Record], FileRead]:
    (folder / name).write_bytes(data)
    told = FileRead()
    return list(read_dolmino(input_file(folder / name), told)), told


def reasons(records: list[Record]) -> list[str | None]:
    return [record.reason for record in records]


def test_nuls_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "with a mark"}\r',
        b'{"text": "of Windows"}\r',
        b'{"text": "a NUL: \\u0000"}',
        b'{"text": "a bare \x00"}',
        b"\x00" * 5000,
        b'\xef\xbb\xbf{"text": "a mark inside"}',
    ]
    records, told = read_lines(tmp_path, b"\n".join(lines))
    assert told.num_read == 6
    assert reasons(records) == [None, None, None, "bad_json", "bad_json", "bad_json"]
    assert [record.text for record in records[:3]] == ["with a mark", "of Windows", "a NUL: \0"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_a_file_in_another_encoding_is_counted_line_by_line(tmp_path: Path, encoding: str) -> None:
    text = '{"text": "grønt græs"}\n' * 20
    records, told = read_lines(tmp_path, text.encode(encoding))
    assert told.num_read == len(records) >= 20
    assert set(reasons(records)) <= {"bad_utf8", "bad_json"}


@both
def test_a_file_that_is_not_what_its_name_says_is_named_whole(tmp_path: Path, suffix: str) -> None:
    data = dolmino_lines("a", 30)
    records, told = read_stream(tmp_path, suffix, data)
    assert records == []
    (span,) = told.unreadable
    assert (span.offset, span.length) == (0, len(data))


def test_skippable_frames_hold_no_text_and_lose_none(tmp_path: Path) -> None:
    def skippable(content: bytes) -> bytes:
        return b"\x5a\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content

    frames = [packed("zst", dolmino_lines(name, 50)) for name in "ab"]
    inside = packed("zst", b'{"id": "no", "text": "not a record"}\n')  # must not be read
    data = skippable(b"") + frames[0] + skippable(inside) + frames[1] + skippable(b"x" * 9000)
    records, told = read_stream(tmp_path, "zst", data)
    assert [r.native_id for r in records] == [f"{n}-{i}" for n in "ab" for i in range(50)]
    assert not told.unreadable
    records, told = read_stream(tmp_path, "zst", data[:-100])
    assert len(records) == 100
    (span,) = told.unreadable
    assert span.offset + span.length == len(data) - 100


def read_table(folder: Path, table: pa.Table, **options: object) -> tuple[list[Record], FileRead]:
    file = folder / "x.parquet"
    pq.write_table(table, file, **options)
    told = FileRead()
    records = list(read_fineweb2(input_file(file), told))
    assert [record.number for record in records] == list(range(told.num_read))
    return records, told


def test_columns_of_other_types_cost_what_they_hold(tmp_path: Path) -> None:
    ids = pa.array(["a", "b"])
    for text in (
        pa.array([1, 2]),
        pa.array([True, False]),
        pa.array([{"x": "y"}, None]),
        pa.nulls(2),
        pa.array([[1], None]),
    ):
        records, _ = read_table(tmp_path, pa.table({"text": text, "id": ids}))
        assert reasons(records) == ["no_text"] * 2
        assert [record.native_id for record in records] == ["a", "b"]
    other = pa.table({"text": ids, "id": pa.array([[1], [2]]), "language_score": ids, "url": ids})
    records, _ = read_table(tmp_path, other)
    assert [(r.text, r.native_id, r.language_score) for r in records] == [
        ("a", None, None),
        ("b", None, None),
    ]


def test_a_parquet_without_row_groups_and_one_with_a_name_twice(tmp_path: Path) -> None:
    schema = pa.schema({"text": pa.string()})
    pq.ParquetWriter(tmp_path / "x.parquet", schema).close()
    told = FileRead()
    assert list(read_fineweb2(input_file(tmp_path / "x.parquet"), told)) == []
    assert [span.reason for span in told.unreadable] == ["empty file"]
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    records, told = read_table(tmp_path, twice)
    assert told.num_read == 1
    assert reasons(records) == ["missing_column"]


def spoiled(data: bytes, draw: random.Random) -> bytes:
    """Flipped bytes, in a Parquet's footer above all, bytes put in, bytes taken out, or a cut."""
    spoilt, place = bytearray(data), draw.randrange(len(data))
    match draw.randrange(5):
        case 0:
            return data[:place]
        case 1:
            spoilt[place:place] = draw.randbytes(draw.randrange(1, 50))
        case 2:
            del spoilt[place : place + draw.randrange(1, 60)]
        case 3:
            for _ in range(draw.randrange(1, 4)):
                spoilt[-draw.randrange(1, min(1500, len(data)))] = draw.randrange(256)
        case _:
            for _ in range(draw.randrange(1, 9)):
                spoilt[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(spoilt)


@pytest.mark.parametrize("kind", ["json", "json.gz", "json.zst", "parquet", "plain.parquet"])
def test_whatever_breaks_every_record_is_read_or_named(tmp_path: Path, kind: str) -> None:
    texts = corpora.sentences("x", 40)
    sound = tmp_path / f"sound.{kind}"
    if kind.endswith("parquet"):
        columns = dict.fromkeys(("text", "id", "url"), texts)
        plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
        options = plain if kind == "plain.parquet" else {}
        pq.write_table(pa.table(columns), sound, row_group_size=16, **options)
    else:
        halves = [dolmino_lines(name, 20) for name in "ab"]
        suffix = kind.rpartition(".")[2]
        sound.write_bytes(b"".join(h if suffix == "json" else packed(suffix, h) for h in halves))
    read = reader_of("documents", Fields())
    file = tmp_path / f"x.{kind}"
    whole = 0
    for case in range(60):
        data = spoiled(sound.read_bytes(), random.Random(f"{kind} {case}"))
        file.write_bytes(data)
        told = FileRead()
        records = list(read(input_file(file), told))
        assert [record.number for record in records] == list(range(told.num_read))
        assert all((record.text is None) == (record.reason is not None) for record in records)
        assert all(0 <= s.offset <= s.offset + s.length <= len(data) for s in told.unreadable)
        assert told.num_read or told.unreadable
        whole += not told.unreadable and all(record.reason is None for record in records)
    assert whole < 40  # most of it is noticed; a byte of a text may become another letter


MEMORY = """
import gzip, json, resource, sys
from pathlib import Path
from pipelines.inventory import InputFile
from pipelines.read import reader_of
from pipelines.record import FileRead
from schemas.text import Fields

path = Path(sys.argv[1])
file = InputFile(str(path), path.name, path.stat().st_size)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(len(r.text) == 50_000_000 for r in reader_of("documents", Fields())(file, FileRead()))
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("name", ["x.json.gz", "x.parquet"])
def test_records_of_50_mb_are_held_one_at_a_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    texts = [str(i) + "x" * 49_999_999 for i in range(3)]
    if name.endswith("gz"):
        with gzip.open(path, "wb", compresslevel=1) as file:
            for text in texts:
                file.write(json.dumps({"text": text}).encode() + b"\n")
    else:
        with pq.ParquetWriter(
            path, pa.schema({"text": pa.string()}), use_dictionary=False, write_batch_size=1
        ) as writer:
            writer.write_table(pa.table({"text": texts}))
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True
    )
    count, megabytes = map(int, ran.stdout.split())
    assert count == 3
    assert megabytes < 450  # of 50 MB: the bytes, their decoding and what the decoder holds
