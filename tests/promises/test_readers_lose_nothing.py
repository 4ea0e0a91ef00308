"""I1, the reader's side: each byte of a file lies in a record or in a span that is named."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.read import READERS, read_dclm, read_fineweb2
from pipelines.record import FileRead
from tests import corpora
from tests.reading import both, dolmino_lines, input_file, packed, read_stream


def test_one_bad_line_and_one_bad_byte_cost_two_documents(tmp_path: Path) -> None:
    texts = corpora.sentences("x", 50)
    lines = [corpora.dclm_line(t, str(i)) for i, t in enumerate(texts)]
    lines[10] = lines[10][:40]
    lines[20] = lines[20].replace(b" ", b"\xff", 1)
    lines[30] = b""
    lines[40] = lines[40].replace(texts[40].encode(), b"\\ud800")
    file = corpora.write_dclm(tmp_path, lines)
    told = FileRead()
    records = list(read_dclm(input_file(file), told))
    assert told.num_read == len(records) == 50
    assert {r.number: r.reason for r in records if r.reason} == {
        10: "bad_json",
        20: "bad_utf8",
        30: "bad_json",
        40: "bad_utf8",
    }
    assert not told.unreadable


@both
@pytest.mark.parametrize("left", [0.02, 0.5, 0.99])
def test_a_cut_off_stream_keeps_what_lies_before_the_cut(
    tmp_path: Path, suffix: str, left: float
) -> None:
    whole = packed(suffix, dolmino_lines("x", 2000))
    size = int(len(whole) * left)
    records, told = read_stream(tmp_path, suffix, whole[:size])
    (span,) = told.unreadable
    assert span.offset + span.length == size
    assert all(r.reason is None for r in records)
    if left > 0.1:
        assert 0 < len(records) < 2000
        assert span.offset > 0


@both
def test_a_small_cut_off_stream_is_named_whole(tmp_path: Path, suffix: str) -> None:
    data = packed(suffix, dolmino_lines("x", 2))[:-9]
    _, told = read_stream(tmp_path, suffix, data)
    (span,) = told.unreadable
    assert (span.offset, span.length) == (0, len(data))


@both
def test_reading_goes_on_at_the_member_behind_a_broken_one(tmp_path: Path, suffix: str) -> None:
    first, second, third = (packed(suffix, dolmino_lines(n, 400)) for n in "abc")
    broken = bytearray(second)
    middle = len(broken) // 2
    broken[middle : middle + 100] = b"\xff" * 100
    records, told = read_stream(tmp_path, suffix, first + broken + third)
    found = Counter(r.native_id[0] for r in records if r.native_id and not r.reason)
    assert found["a"] == found["c"] == 400
    assert found["b"] < 400
    (span,) = told.unreadable
    assert len(first) <= span.offset <= len(first) + middle
    assert span.offset + span.length == len(first) + len(broken)


@both
def test_a_cut_off_member_does_not_swallow_the_next(tmp_path: Path, suffix: str) -> None:
    first, second = packed(suffix, dolmino_lines("a", 100)), packed(suffix, dolmino_lines("b", 100))
    cut = len(first) // 2
    records, told = read_stream(tmp_path, suffix, first[:cut] + second)
    good = [r.native_id for r in records if r.reason is None]
    assert good[-100:] == [f"b-{i}" for i in range(100)]
    assert told.unreadable[-1].offset + told.unreadable[-1].length == cut


@both
def test_all_of_a_cut_line_lies_in_the_span(tmp_path: Path, suffix: str) -> None:
    noise = base64.b64encode(np.random.default_rng(0).bytes(600_000)).decode()
    line = json.dumps({"id": "long", "text": noise}).encode() + b"\n"
    short = packed(suffix, dolmino_lines("a", 3))
    data = (short + packed(suffix, line))[:-2000]
    records, told = read_stream(tmp_path, suffix, data)
    assert [r.native_id for r in records] == ["a-0", "a-1", "a-2"]
    (span,) = told.unreadable
    assert (span.offset, span.offset + span.length) == (len(short), len(data))


@both
def test_whole_members_are_one_stream_wherever_they_are_cut(tmp_path: Path, suffix: str) -> None:
    lines = dolmino_lines("a", 400)
    data = b"".join(packed(suffix, lines[i : i + 7777]) for i in range(0, len(lines), 7777))
    records, told = read_stream(tmp_path, suffix, data)
    assert [r.native_id for r in records] == [f"a-{i}" for i in range(400)]
    assert not told.unreadable


@both
def test_rubbish_behind_a_stream_costs_no_document(tmp_path: Path, suffix: str) -> None:
    whole = packed(suffix, dolmino_lines("a", 400).rstrip(b"\n"))
    records, told = read_stream(tmp_path, suffix, whole + b"rubbish" * 9)
    assert [r.reason for r in records] == [None] * 400
    (span,) = told.unreadable
    assert (span.offset, span.length) == (len(whole), 63)


@both
def test_a_wrong_checksum_keeps_the_documents_before_it(tmp_path: Path, suffix: str) -> None:
    whole = bytearray(packed(suffix, dolmino_lines("a", 2000)))
    whole[-1 if suffix == "zst" else -5] ^= 1
    records, told = read_stream(tmp_path, suffix, bytes(whole))
    # A zstd block is up to 128 kB of text, a few hundred of these documents.
    assert len(records) > (1600 if suffix == "zst" else 1990)
    assert all(r.reason is None for r in records)
    (span,) = told.unreadable
    assert span.offset + span.length == len(whole)


def test_lines_of_odd_json_cost_themselves_at_most(tmp_path: Path) -> None:
    text = corpora.sentences("x", 1)[0]
    score = "fasttext_openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train_prob"
    odd: list[dict[str, object]] = [
        {"text": text, "metadata": {"WARC-Record-ID": "\ud800"}},
        {"text": text, "url": "\udfff", "metadata": {"WARC-Target-URI": "https://example.org"}},
        {"text": text, "metadata": [1], score: 10**400},
        {"text": text, score: float("nan")},
    ]
    endless = b'{"text": "x", "n": ' + b"1" * 5000 + b"}"
    file = corpora.write_dclm(tmp_path, [*(json.dumps(r).encode() for r in odd), endless, b"[1]"])
    told = FileRead()
    records = list(read_dclm(input_file(file), told))
    assert [r.reason for r in records] == [None] * 4 + ["bad_json", "no_text"]
    assert told.num_read == 6
    assert {r.native_id for r in records} == {None}
    assert [r.url for r in records[:2]] == ["", "https://example.org"]
    assert {r.quality_score for r in records} == {None}

    row = json.dumps({"id": "\udc00", "text": text, "metadata": {"url": "\ud800"}}).encode()
    (record,), _ = read_stream(tmp_path, "gz", packed("gz", row))
    assert (record.native_id, record.url, record.reason) == (None, "", None)


@pytest.mark.parametrize("strings", [pa.string(), pa.large_string()])
def test_bad_utf8_in_parquet_costs_its_row(tmp_path: Path, strings: pa.DataType) -> None:
    def column(*values: bytes | None) -> pa.Array:
        plain = pa.large_binary() if strings == pa.large_string() else pa.binary()
        return pa.array(values, plain).view(strings)

    file = tmp_path / "x.parquet"
    table = {
        "text": column(b"good", b"b\xffd", None, "gr\u00fcn".encode()),
        "id": column(b"a", b"b", b"c", b"\xfed"),
        "url": column(b"u", b"\xff", None, b"w"),
    }
    pq.write_table(pa.table(table), file)
    told = FileRead()
    records = list(read_fineweb2(input_file(file), told))
    assert told.num_read == 4
    assert [r.reason for r in records] == [None, "bad_utf8", "no_text", None]
    assert [r.text for r in records] == ["good", None, None, "gr\u00fcn"]
    assert [r.native_id for r in records] == ["a", "b", "c", "\ufffdd"]
    assert [r.url for r in records] == ["u", "\ufffd", "", "w"]
    assert records[1].num_bytes == 3


def test_a_broken_parquet_page_costs_its_row_group(tmp_path: Path) -> None:
    file = corpora.write_fineweb2(tmp_path, "fao_Latn", corpora.sentences("x", 32))
    metadata = pq.ParquetFile(file).metadata
    column = metadata.row_group(1).column(0)
    data = bytearray(file.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 60] = b"\xff" * 60
    file.write_bytes(data)
    told = FileRead()
    records = list(read_fineweb2(input_file(file), told))
    assert told.num_read == len(records) == 32
    assert [r.number for r in records if r.reason == "unreadable"] == list(range(8, 16))


def test_a_parquet_without_text_loses_every_row_by_name(tmp_path: Path) -> None:
    no_text = tmp_path / "no_text.parquet"
    pq.write_table(pa.table({"id": ["a", "b"]}), no_text)
    told = FileRead()
    records = list(read_fineweb2(input_file(no_text), told))
    assert [r.reason for r in records] == ["missing_column"] * 2
    assert told.num_read == 2


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    file.write_bytes(b"rubbish" * 9)
    told = FileRead()
    assert list(read_fineweb2(input_file(file), told)) == []
    (span,) = told.unreadable
    assert (span.offset, span.length) == (0, 63)


@pytest.mark.parametrize(
    ("layout", "name", "data"),
    [
        ("fineweb2", "x.parquet", b""),
        ("dclm", "x.jsonl.zst", b""),
        ("dclm", "x.jsonl.zst", packed("zst", b"")),
        ("dolmino", "x.json.gz", b""),
        ("dolmino", "x.json.gz", packed("gz", b"")),
        ("dolmino", "x.json", b""),
    ],
)
def test_an_empty_file_is_named(tmp_path: Path, layout: str, name: str, data: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    told = FileRead()
    assert list(READERS[layout](input_file(file), told)) == []
    (span,) = told.unreadable
    assert (span.file, span.offset, span.length) == (name, 0, len(data))
    assert span.reason == "empty file"
