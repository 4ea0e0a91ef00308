"""I1: read = kept + dropped, the three counted apart; every broken thing is named and counted."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.inventory import InputFile
from pipelines.read import READERS, FileRead, read_dclm, read_dolmino, read_fineweb2
from schemas.ledger import Ledger, LedgerError, total
from schemas.stratum import stratum_folder
from tests import corpora
from tests.building import build_store


def input_file(path: Path) -> InputFile:
    return InputFile(str(path), path.name, path.stat().st_size)


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


def test_a_broken_gzip_keeps_what_lies_before_the_break(tmp_path: Path) -> None:
    file = corpora.write_dolmino(tmp_path, "math", corpora.sentences("x", 2000))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    told = FileRead()
    records = list(read_dolmino(input_file(file), told))
    assert 0 < len(records) == told.num_read < 2000
    (span,) = told.unreadable
    assert span.file == file.name
    assert 0 < span.offset < span.offset + span.length == len(whole) // 2
    assert all(r.reason is None for r in records)


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


def test_files_that_are_empty_or_no_parquet_or_lack_text_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.parquet"
    empty.write_bytes(b"")
    told = FileRead()
    assert list(read_fineweb2(input_file(empty), told)) == []
    assert told.unreadable[0].file == "empty.parquet"

    no_text = tmp_path / "no_text.parquet"
    pq.write_table(pa.table({"id": ["a", "b"]}), no_text)
    told = FileRead()
    records = list(read_fineweb2(input_file(no_text), told))
    assert [r.reason for r in records] == ["missing_column"] * 2
    assert told.num_read == 2

    blank = tmp_path / "blank.json.gz"
    blank.write_bytes(gzip.compress(b""))
    told = FileRead()
    assert list(read_dolmino(input_file(blank), told)) == []
    assert told == FileRead()


def test_the_ledger_of_a_build_over_noise_closes(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 60, "rus_Cyrl": 20})
    texts = corpora.sentences("english", 60)
    lines = [corpora.dclm_line(t, str(i)) for i, t in enumerate(texts)]
    lines += [lines[3], corpora.dclm_line(texts[4], "other id"), b"{cut", b"\xff\xfe"]
    lines += [corpora.dclm_line("short", "s"), corpora.dclm_line("#" * 200, "spam")]
    corpora.write_dclm(root / "dclm", lines)
    built = build_store(corpora.recipe(root), tmp_path / "store")

    ledger = total(s.ledger for s in built.strata)
    assert ledger.read == ledger.kept + sum(ledger.dropped.values())
    dclm = built.stratum("dclm/eng_Latn/all").ledger
    assert dclm.read == 66
    assert dclm.dropped == {
        "bad_json": 1,
        "bad_utf8": 1,
        "exact_duplicate": 2,
        "held_out": 1,
        "no_letters": 1,
        "too_short": 1,
    }
    # Made-up Latin words under a Cyrillic label.
    assert built.stratum("fineweb2/rus_Cyrl/all").ledger.dropped == {"wrong_script": 18}
    stratum = built.stratum("dclm/eng_Latn/all")
    folder = Path(stratum_folder(built.store, stratum.name, stratum.id))
    drops = pq.read_table(folder / "dropped.parquet").to_pylist()
    assert {d["doc_id"] for d in drops if d["reason"] == "exact_duplicate"} <= {
        "dclm:<urn:3>~2",
        "dclm:<urn:3>",
        "dclm:<urn:4>",
        "dclm:<urn:other id>",
    }
    assert {d["doc_id"] for d in drops if d["reason"] == "bad_json"} == {
        "dclm:shard_0.jsonl.zst#62"
    }


def test_a_ledger_that_does_not_close_stops_the_build() -> None:
    with pytest.raises(LedgerError, match=r"read 10, kept 7, dropped 2, so \+1 unaccounted"):
        Ledger(read=10, kept=7, dropped={"too_short": 2}).check("a/b_Latn/all")


def test_a_reader_that_loses_a_record_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30})

    def lossy(file: InputFile, told: FileRead):
        for record in read_fineweb2(file, told):
            if record.number != 3:
                yield record

    monkeypatch.setitem(READERS, "fineweb2", lossy)
    with pytest.raises(LedgerError, match="fineweb2/fao_Latn/all does not close"):
        build_store(corpora.recipe(root), tmp_path / "store")
    assert not list((tmp_path / "store").rglob("fao_Latn/all/*/stratum.json"))
