"""The generic source: any Parquet or JSON lines, read without loss, in any language or in code."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.inventory import InputFile, inventory, wanted
from pipelines.manifests import make_manifest
from pipelines.read import read_documents
from pipelines.record import FileRead, Record
from schemas.errors import UserError
from schemas.recipe import Recipe
from schemas.shard import open_shard
from schemas.store import join
from schemas.stratum import stratum_folder
from schemas.text import Fields, Source
from tests import corpora
from tests.building import Built, build_store

Row = dict[str, object]


def write_lines(path: Path, rows: Sequence[Row | bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    data = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def read(path: Path, **fields: str) -> tuple[list[Record], FileRead]:
    told = FileRead()
    file = InputFile(str(path), path.name, path.stat().st_size)
    records = list(read_documents(file, told, Fields(**fields)))
    assert [record.number for record in records] == list(range(told.num_read))
    return records, told


def test_json_lines_have_their_parts_where_the_fields_say(tmp_path: Path) -> None:
    rows: list[Row | bytes] = [
        {"content": "one", "meta": {"url": "u1", "by": {"id": 7}}, "quality": 0.5},
        {"content": "two", "meta": {"url": None, "by": {"id": "b"}}, "quality": "high"},
        {"content": "three", "meta.url": "u3", "meta": [1]},
        {"content": "four", "meta": {"url": "\ud800", "by": {"id": True}}, "quality": 1},
    ]
    path = write_lines(tmp_path / "x.jsonl.gz", rows)
    records, _ = read(path, text="content", url="meta.url", id="meta.by.id", score="quality")
    assert [r.text for r in records] == ["one", "two", "three", "four"]
    assert [r.url for r in records] == ["u1", "", "u3", ""]
    assert [r.native_id for r in records] == ["7", "b", None, None]
    assert [r.quality_score for r in records] == [0.5, None, None, 1.0]


def test_what_is_wrong_with_a_line_costs_that_line_and_is_named(tmp_path: Path) -> None:
    rows: list[Row | bytes] = [
        {"text": "good"},
        b'{"text": "cut',
        b'{"text": "bad \xff byte"}',
        {"text": "half \ud800"},
        {"txt": "elsewhere"},
        {"text": 3},
        b"",
        {"text": "good"},
    ]
    records, told = read(write_lines(tmp_path / "x.json", rows))
    reasons = [None, "bad_json", "bad_utf8", "bad_utf8", "no_text", "no_text", "bad_json", None]
    assert [record.reason for record in records] == reasons
    assert not told.unreadable


def test_a_cut_stream_and_an_empty_file_are_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl.gz", [{"text": f"{i}" * 50} for i in range(2000)])
    path.write_bytes(path.read_bytes()[:-40])
    records, told = read(path)
    assert {record.reason for record in records} == {None}
    (span,) = told.unreadable
    assert span.offset + span.length == path.stat().st_size
    for empty in ("y.parquet", "y.json"):
        (tmp_path / empty).write_bytes(b"")
        _, told = read(tmp_path / empty)
        assert [span.reason for span in told.unreadable] == ["empty file"]


def test_parquet_columns_may_be_nested_numbered_or_coded(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {
        "body": pa.array(["one", "two", None]).dictionary_encode(),
        "meta": pa.array([{"url": "u1", "n": 1}, None, {"url": "u3", "n": 3}]),
        "number": pa.array([11, None, 13]),
        "quality": pa.array([0.25, 0.75, None], pa.float32()),
    }
    pq.write_table(pa.table(columns), path)
    records, _ = read(path, text="body", url="meta.url", id="number", score="quality")
    assert [r.text for r in records] == ["one", "two", None]
    assert [r.reason for r in records] == [None, None, "no_text"]
    assert [r.url for r in records] == ["u1", "", "u3"]
    assert [r.native_id for r in records] == ["11", None, "13"]
    assert [r.quality_score for r in records] == [0.25, 0.75, None]


def test_bad_bytes_and_broken_pages_of_parquet_cost_themselves(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    texts = pa.array([b"good", b"b\xffd"] * 8, pa.binary()).view(pa.string())
    inner = pa.StructArray.from_arrays([texts], ["text"])
    pq.write_table(pa.table({"doc": inner}), path, row_group_size=8, use_dictionary=False)
    records, _ = read(path, text="doc.text")
    assert [record.reason for record in records] == [None, "bad_utf8"] * 8
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    records, told = read(path, text="doc.text")
    assert [record.reason for record in records[8:]] == ["unreadable"] * 8
    assert told.num_read == 16


def test_a_missing_column_loses_every_row_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1, 2], "doc": [{"b": "x"}, {"b": "y"}]}), path)
    for text in ("text", "doc.text", "a.text"):
        records, _ = read(path, text=text, id="none", url="none", score="none")
        assert [record.reason for record in records] == ["missing_column"] * 2


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    corpora.write_fineweb2(root / "fineweb2", "fao_Latn", corpora.sentences("fao", 40))
    for language in ("isl_Latn", "code_Zyyy"):
        texts = corpora.sentences(language, 30)
        rows: list[Row | bytes] = [
            {"content": t, "meta": {"stars": i / 30}} for i, t in enumerate(texts)
        ]
        write_lines(root / "mixed" / language / "deep" / "a.jsonl.gz", rows[:20])
        columns = {key: [row[key] for row in rows[20:]] for key in rows[0]}
        pq.write_table(pa.table(columns), root / "mixed" / language / "b.parquet")
    return root


FIELDS = Fields(text="content", id="none", score="meta.stars")


def built(corpus: Path, folder: Path, source: Source, **phase: object) -> tuple[Recipe, Built]:
    made = corpora.recipe(corpus, {"mixed": source}, **phase)
    return made, build_store(made, folder)


def test_a_folder_for_each_language_goes_into_the_temperature_group(
    corpus: Path, tmp_path: Path
) -> None:
    source = Source(path=str(corpus / "mixed"), format="documents", fields=FIELDS, min_score=0.5)
    made, there = built(
        corpus,
        tmp_path / "store",
        source,
        temperature_sources=("fineweb2", "mixed"),
        shares={"multilingual": 1},
        languages=("fao", "isl", "code"),
        pool_tokens=4000,
    )
    code = there.stratum("mixed/code_Zyyy/all")
    assert code.ledger.read == 30
    assert code.ledger.dropped == {"held_out": 1, "low_quality_score": 15}
    manifest, _ = make_manifest(made, "only", there.store, there.seal, there.strata)
    assert {share.language for share in manifest.languages} == {"fao", "isl", "code"}
    assert all(share.rows for share in manifest.strata)


def test_one_language_of_its_own_takes_the_share_that_is_set_by_hand(
    corpus: Path, tmp_path: Path
) -> None:
    path = str(corpus / "mixed" / "code_Zyyy")
    source = Source(path=path, format="documents", language="code_Zyyy", fields=FIELDS)
    made, there = built(
        corpus,
        tmp_path / "store",
        source,
        shares={"multilingual": 75, "mixed": 25},
        pool_tokens=2000,
    )
    manifest, _ = make_manifest(made, "only", there.store, there.seal, there.strata)
    targets = {share.source: share.target_tokens for share in manifest.strata}
    assert targets == {"fineweb2": 1500, "mixed": 500}
    assert "code" not in {absence.language for absence in manifest.absent}
    only = made.phases["only"].model_copy(update={"languages": ("fao", "code")})
    with pytest.raises(UserError, match="code comes by a share of its own"):
        wanted(made.model_copy(update={"phases": {"only": only}}), inventory(made))


def test_records_without_an_id_are_named_by_their_place(corpus: Path, tmp_path: Path) -> None:
    path = str(corpus / "mixed" / "isl_Latn")
    source = Source(path=path, format="documents", language="isl_Latn", fields=FIELDS)
    _, there = built(corpus, tmp_path / "store", source, shares={"mixed": 1})
    stratum = there.stratum("mixed/isl_Latn/all")
    folder = stratum_folder(there.store, stratum.name, stratum.id)
    names = open_shard(join(folder, stratum.shards[0].name)).table.column("doc_id").to_pylist()
    places = {f"mixed:deep/a.jsonl.gz#{i}" for i in range(20)}
    assert set(names) < places | {f"mixed:b.parquet#{i}" for i in range(10)}


def test_other_fields_or_another_language_build_anew(corpus: Path, tmp_path: Path) -> None:
    path = str(corpus / "mixed" / "isl_Latn")
    first = Source(path=path, format="documents", language="isl_Latn", fields=FIELDS)
    ids = []
    for change in (
        {},
        {"fields": FIELDS.model_copy(update={"url": "link"})},
        {"language": "fao_Latn"},
    ):
        _, there = built(corpus, tmp_path, first.model_copy(update=change), shares={"mixed": 1})
        ids.append({s.id for s in there.strata if s.name.source == "mixed"})
        assert there.num_new == 1
    assert len(set.union(*ids)) == sum(map(len, ids))


def test_a_file_in_no_folder_of_a_language_is_refused(corpus: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "mixed" / "isl_Latn" / "a.json", [{"text": "x"}])
    write_lines(tmp_path / "mixed" / "_logs" / "a.json", [{"text": "x"}])
    source = Source(path=str(tmp_path / "mixed"), format="documents")
    made = corpora.recipe(corpus, {"mixed": source}, shares={"mixed": 1})
    assert [o.language for o in inventory(made) if o.source == "mixed"] == ["isl_Latn"]
    write_lines(tmp_path / "mixed" / "icelandic" / "a.json", [{"text": "x"}])
    with pytest.raises(UserError, match=r"icelandic/a.json lies in no folder of a language"):
        inventory(made)
