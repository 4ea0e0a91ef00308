"""Each source of the recipe, laid out as it is published: found, grouped, read without loss."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipelines.inventory import inventory
from pipelines.read import reader_of
from pipelines.record import FileRead, Record
from schemas.recipe import Recipe
from schemas.text import Fields, Source
from tests import corpora

Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Layout:
    """Files of a source with their rows, and what must come out of them, in order of the paths."""

    files: Mapping[str, Rows]
    texts: Sequence[str]
    source: Mapping[str, object] = field(default_factory=dict)
    format: str = "documents"
    origins: Sequence[str] = ("x/eng_Latn",)
    ids: Sequence[str | None] | None = None
    urls: Sequence[str] | None = None


def turns(*said: str) -> list[dict[str, str]]:
    return [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(said)
    ]


LAYOUTS = {
    "FineWeb2": Layout(
        {
            "fao_Latn/test/000_00000.parquet": [{"text": "a", "id": "1", "url": "u"}],
            "fao_Latn/train/000_00000.parquet": [{"text": "b", "id": "2", "url": "v"}],
            "fao_Latn_removed/train/000_00000.parquet": [{"text": "c", "id": "3", "url": "w"}],
        },
        ["a", "b"],
        format="fineweb2",
        origins=["x/fao_Latn"],
        ids=["1", "2"],
    ),
    "DCLM": Layout(
        {
            "global-shard_01_of_10/local-shard_0_of_10/shard_00000000_processed.jsonl.zst": [
                {"text": "a", "url": "u", "metadata": {"WARC-Record-ID": "<urn:1>"}}
            ]
        },
        ["a"],
        format="dclm",
        ids=["<urn:1>"],
        urls=["u"],
    ),
    "Dolmino": Layout(
        {
            "data/dclm/0000/dclm-0000.json.zst": [{"id": "d", "text": "a"}],
            "data/flan/flan-0000.json.gz": [{"id": "f", "text": "b"}],
            "data/math/gsm8k/train.jsonl": [{"id": "m", "text": "c"}],
        },
        ["a", "b", "c"],
        format="dolmino",
        origins=["x/dclm/eng_Latn", "x/flan/eng_Latn", "x/math/eng_Latn"],
        ids=["d", "f", "m"],
    ),
    "StarCoder": Layout(
        {
            "ada/train-00000-of-00001.parquet": [
                {"max_stars_repo_path": "p", "max_stars_count": 3, "id": "0", "content": "begin"}
            ],
            "c/train-00000-of-00002.parquet": [{"id": "1", "content": "main"}],
        },
        ["begin", "main"],
        {"language": "code_Zyyy", "fields": {"text": "content", "url": "max_stars_repo_path"}},
        origins=["x/code_Zyyy"],
        urls=["p", ""],
    ),
    "code repositories": Layout(
        {"repositories-0.jsonl.zst": [{"repo": "r", "text": "# a.py\n1\n# b.py\n2"}]},
        ["# a.py\n1\n# b.py\n2"],
        {"language": "code_Zyyy", "fields": {"id": "repo"}},
        origins=["x/code_Zyyy"],
        ids=["r"],
    ),
    "Wikipedia": Layout(
        {
            "20231101.fo/train-00000-of-00001.parquet": [
                {"id": "7", "url": "u", "title": "Sild", "text": "a"}
            ],
            "20231101.is/train-00000-of-00001.parquet": [
                {"id": "8", "url": "v", "title": "Skip", "text": "b"}
            ],
            "20231101.sv/train-00000-of-00001.parquet": [
                {"id": "9", "url": "w", "title": "Ett", "text": "c"}
            ],
        },
        ["Sild\n\na", "Skip\n\nb"],
        {
            "languages": {"20231101.fo": "fao_Latn", "20231101.is": "isl_Latn"},
            "fields": {"text": ["title", "text"]},
        },
        origins=["x/fao_Latn", "x/isl_Latn"],
        ids=["7", "8"],
    ),
    "MegaWika": Layout(
        {
            "fo/fo-00000.jsonl": [{"article_title": "Sild", "article_text": "a", "entries": []}],
        },
        ["a"],
        {
            "languages": {"fo": "fao_Latn"},
            "fields": {"text": "article_text", "id": "article_title"},
        },
        origins=["x/fao_Latn"],
        ids=["Sild"],
    ),
    "arXiv": Layout(
        {"arxiv_1.jsonl": [{"text": "a", "meta": {"arxiv_id": "0704.1", "url": "u"}}]},
        ["a"],
        {"language": "eng_Latn", "fields": {"id": "meta.arxiv_id", "url": "meta.url"}},
        ids=["0704.1"],
        urls=["u"],
    ),
    "books": Layout(
        {"books-0000.json.gz": [{"id": "b", "text": "line\r\nline\n\n" * 5000, "source": "books"}]},
        ["line\r\nline\n\n" * 5000],
        {"language": "eng_Latn"},
        ids=["b"],
    ),
    "peS2o": Layout(
        {"data/v2/train-00000-of-00020.json.gz": [{"id": "4", "text": "a", "version": "v2"}]},
        ["a"],
        {"language": "eng_Latn"},
        ids=["4"],
    ),
    "StackExchange": Layout(
        {
            "cs.json.gz": [{"id": "q", "text": "Q: a", "metadata": {"url": "u", "score": 4}}],
            "math.json.gz": [{"id": "r", "text": "Q: b", "metadata": {"url": "v"}}],
        },
        ["Q: a", "Q: b"],
        {"language": "eng_Latn", "fields": {"url": "metadata.url", "score": "metadata.score"}},
        urls=["u", "v"],
    ),
    "questions and answers": Layout(
        {"main/train-00000-of-00001.parquet": [{"question": "1+1?", "answer": "2"}]},
        ["1+1?\n\n2"],
        {"language": "eng_Latn", "fields": {"text": ["question", "answer"]}},
    ),
    "instructions": Layout(
        {"data/train-00000-of-00001.parquet": [{"id": "t", "messages": turns("Hi", "Hello", "Q")}]},
        ["Hi\n\nHello\n\nQ"],
        {"language": "eng_Latn", "fields": {"text": "messages"}},
        ids=["t"],
    ),
    "instructions as lines": Layout(
        {
            "a.jsonl": [
                {"messages": [*turns("Hi"), {"role": "assistant", "content": None}], "n": 1},
                {"messages": turns("One", "Two")},
            ]
        },
        ["Hi", "One\n\nTwo"],
        {"language": "eng_Latn", "fields": {"text": "messages"}},
    ),
    "ProLong's textbooks, by subset": Layout(
        {
            "books/a.jsonl": [{"text": "a"}],
            "books/deep/b.jsonl.gz": [{"text": "b"}],
            "notes/c.parquet": [{"text": "c"}],
        },
        ["a", "b", "c"],
        {"language": "eng_Latn", "subsets": True, "licences": {"notes": "CC0"}},
        origins=["x/books/eng_Latn", "x/notes/eng_Latn"],
    ),
}


def write(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)


def recipe_of(source: Source) -> Recipe:
    made = corpora.recipe(Path("/"))
    return made.model_copy(update={"sources": {"x": source}})


def read(source: Source) -> tuple[list[str], list[Record]]:
    """The origins of a source and its records, file after file; every record is counted."""
    origins = inventory(recipe_of(source))
    records: list[Record] = []
    for origin in origins:
        for file in origin.files:
            told = FileRead()
            found = list(reader_of(source.format, source.fields)(file, told))
            assert told.num_read == len(found)
            assert not told.unreadable
            records += found
    return [f"{origin.source}/{origin.language}" for origin in origins], records


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_layout_is_read_without_loss(tmp_path: Path, name: str) -> None:
    layout = LAYOUTS[name]
    for file, rows in layout.files.items():
        write(tmp_path / file, rows)
    settings = {"path": str(tmp_path), "format": layout.format, **layout.source}
    origins, records = read(Source.model_validate(settings))
    assert origins == list(layout.origins)
    assert [record.reason for record in records] == [None] * len(layout.texts)
    assert [record.text for record in records] == list(layout.texts)
    if layout.ids is not None:
        assert [record.native_id for record in records] == list(layout.ids)
    if layout.urls is not None:
        assert [record.url for record in records] == list(layout.urls)


def test_a_missing_part_is_never_half_a_document(tmp_path: Path) -> None:
    rows: Rows = [
        {"question": "q", "answer": None},
        {"question": "q"},
        {"question": None, "answer": None},
        {"question": "q", "answer": 7},
    ]
    write(tmp_path / "a.jsonl", rows)
    write(tmp_path / "b.parquet", [{"question": "q"}])
    fields = Fields(text=("question", "answer"))
    source = Source(path=str(tmp_path), format="documents", language="eng_Latn", fields=fields)
    _, records = read(source)
    reasons = [None, "no_text", "no_text", "no_text", "missing_column"]
    assert [record.reason for record in records] == reasons
    assert [record.detail for record in records][1::3] == [
        "no key 'answer'",
        "no single column 'answer'",
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_file_of_several_languages_is_read_by_label(tmp_path: Path, name: str) -> None:
    rows: Rows = [{"text": t, "lang": label} for t, label in (("a", "fo"), ("b", "is"), ("c", ""))]
    write(tmp_path / name, rows)
    fields = Fields(language="lang", label="fo")
    source = Source(path=str(tmp_path), format="documents", language="fao_Latn", fields=fields)
    _, records = read(source)
    assert [record.reason for record in records] == [None, "other_language", "other_language"]


def test_one_file_or_a_list_of_files_is_a_source(tmp_path: Path) -> None:
    for name in ("a.jsonl", "deep/b.jsonl", "c.jsonl"):
        write(tmp_path / name, [{"text": name}])
    (tmp_path / "list.txt").write_text("# two of three\na.jsonl\n\n  deep/b.jsonl\n")
    for path, texts in (
        ("list.txt", ["a.jsonl", "deep/b.jsonl"]),
        ("deep/b.jsonl", ["deep/b.jsonl"]),
    ):
        source = Source(path=str(tmp_path / path), format="documents", language="eng_Latn")
        assert [record.text for record in read(source)[1]] == texts


def test_the_licence_of_a_subset_goes_before_that_of_its_source() -> None:
    source = Source(path="x", format="documents", licence="MIT", licences={"notes": "CC0"})
    assert [source.licence_of(name) for name in ("x", "x/books", "x/notes")] == [
        "MIT",
        "MIT",
        "CC0",
    ]
