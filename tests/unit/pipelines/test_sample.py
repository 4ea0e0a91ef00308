"""The sample is what it says: real formats, every phase, known noise, equal bytes each time."""

import csv
import gzip
import json
import unicodedata
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

from pipelines.filters import screen
from pipelines.record import Record
from pipelines.sample import SampleReport, write_sample
from pipelines.sample.code import SCHEMA as SCHEMA_OF_CODE
from pipelines.sample.fineweb2 import SCHEMA
from pipelines.sample.noise import KINDS
from pipelines.sample.passages import FOLDER
from schemas.errors import UserError
from schemas.text import Filters

LANGUAGES, MEGABYTES = 30, 1.5
"""A few more languages than have passages, so that invented ones are among them."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleReport]:
    directory = tmp_path_factory.mktemp("sample") / "corpus"
    return directory, write_sample(directory, LANGUAGES, MEGABYTES, seed=3)


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def dclm_lines(directory: Path) -> list[bytes]:
    """All lines of the DCLM files, in order."""
    lines: list[bytes] = []
    for path in sorted(directory.glob("dclm/*/*/*.jsonl.zst")):
        with zstandard.open(path, "rb") as raw:
            lines += raw.read().split(b"\n")[:-1]
    return lines


def texts_by_id(directory: Path) -> dict[str, str]:
    """Every readable document."""
    texts: dict[str, str] = {}
    for path in directory.glob("fineweb2/data/*/*/*.parquet"):
        rows = pq.read_table(path, columns=["id", "text"])
        texts.update(zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True))
    for line in dclm_lines(directory):
        try:
            record = json.loads(line.decode())
        except ValueError:
            continue
        texts[record["metadata"]["WARC-Record-ID"]] = record["text"]
    for path in directory.glob("dolmino/data/**/*.json.gz"):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            record = json.loads(line)
            texts[record["id"]] = record["text"]
    for path in directory.glob("code/*/*.parquet"):
        rows = pq.read_table(path, columns=["id", "content"])
        names = [f"{path.parent.name}/{name}" for name in rows["id"].to_pylist()]
        texts.update(zip(names, rows["content"].to_pylist(), strict=True))
    return texts


def injected(directory: Path) -> list[dict[str, str]]:
    with (directory / "injected.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_equal_parameters_give_equal_bytes(made: tuple[Path, SampleReport], tmp_path: Path) -> None:
    directory, report = made
    again = write_sample(tmp_path / "elsewhere" / "again", LANGUAGES, MEGABYTES, seed=3)
    assert again == report
    assert files_of(tmp_path / "elsewhere" / "again") == files_of(directory)
    write_sample(tmp_path / "other", 3, 0.3, seed=4)
    write_sample(tmp_path / "third", 3, 0.3, seed=5)
    assert files_of(tmp_path / "other") != files_of(tmp_path / "third")


def test_parquet_has_fineweb2s_columns_and_true_labels(made: tuple[Path, SampleReport]) -> None:
    directory, _ = made
    paths = sorted(directory.glob("fineweb2/data/*/train/000_00000.parquet"))
    assert len(paths) == LANGUAGES - 1
    for path in paths:
        rows = pq.read_table(path)
        assert rows.schema.equals(SCHEMA)
        subset = path.parts[-3]
        assert {
            f"{a}_{b}"
            for a, b in zip(
                rows["language"].to_pylist(), rows["language_script"].to_pylist(), strict=True
            )
        } == {subset}
        assert all(url.startswith("https://example.org/") for url in rows["url"].to_pylist())
        assert rows.num_rows >= 12
        assert (path.parents[1] / "test" / path.name).exists()


def test_english_comes_in_dclms_and_dolminos_fields(made: tuple[Path, SampleReport]) -> None:
    directory, _ = made
    records = [json.loads(line) for line in dclm_lines(directory)[-5:]]
    assert all(
        {"text", "url", "warcinfo", "metadata", "previous_word_count"} < set(record)
        and record["metadata"]["WARC-Record-ID"].startswith("<urn:uuid:")
        for record in records
    )
    names = sorted(
        str(path.relative_to(directory / "dolmino/data").parent)
        for path in directory.glob("dolmino/data/**/*.json.gz")
    )
    assert names == ["flan", "math/gsm8k", "pes2o", "stackexchange", "wiki"]
    for path in directory.glob("dolmino/data/**/*.json.gz"):
        record = json.loads(gzip.decompress(path.read_bytes()).splitlines()[0])
        assert list(record) == ["id", "text", "source", "added", "created", "metadata"]


def test_the_report_counts_what_is_there(made: tuple[Path, SampleReport]) -> None:
    directory, report = made
    texts = texts_by_id(directory)
    assert report.languages == LANGUAGES
    assert report.documents == len(texts)
    assert report.bytes == sum(len(text.encode()) for text in texts.values())
    assert 0.8 * MEGABYTES * 1e6 < report.bytes < 1.2 * MEGABYTES * 1e6
    assert report.noise == Counter(row["kind"] for row in injected(directory))


def test_noise_is_what_the_list_says(made: tuple[Path, SampleReport]) -> None:
    directory, report = made
    texts = texts_by_id(directory)
    rows = injected(directory)
    assert set(report.noise) == {*KINDS, "cut_line", "bad_utf8"}
    assert 0.03 < len(rows) / report.documents < 0.07
    assert all((directory / row["file"]).is_file() for row in rows)
    for row in rows:
        if row["kind"] in ("cut_line", "bad_utf8"):
            assert row["id"] not in texts
            continue
        text, ref = texts[row["id"]], texts.get(row["ref_id"], "")
        match row["kind"]:
            case "exact_dup":
                assert text == ref
            case "near_dup":
                assert text != ref
                assert abs(len(text) - len(ref)) < 0.2 * len(ref) + 40
            case "too_short":
                assert len(text) <= 16
            case "control_chars":
                assert any(unicodedata.category(c) in ("Cc", "Cf") for c in text if c != "\n")
            case "symbol_spam":
                assert not any(c.isalpha() for c in text)
            case "repeated_lines":
                assert len(set(text.split("\n"))) == 1
            case "wrong_lang":
                subset = row["note"].removeprefix("text is ")
                assert subset not in row["file"]
                known = set((FOLDER / f"{subset}.txt").read_text(encoding="utf-8").lower())
                assert set(text.lower()) <= known
            case "mojibake":
                assert "\ufffd" in text if ref.isascii() else len(text) > len(ref)


def test_clean_documents_are_all_different(made: tuple[Path, SampleReport]) -> None:
    directory, _ = made
    noisy = {row["id"] for row in injected(directory)}
    for path in directory.glob("fineweb2/data/*/train/*.parquet"):
        rows = pq.read_table(path, columns=["id", "text"]).to_pylist()
        clean = [row["text"] for row in rows if row["id"] not in noisy]
        assert len(clean) == len(set(clean))


def test_two_dclm_lines_are_broken_and_the_rest_reads(made: tuple[Path, SampleReport]) -> None:
    directory, _ = made
    broken = []
    for line in dclm_lines(directory):
        try:
            json.loads(line.decode())
        except UnicodeDecodeError:
            broken.append("bad_utf8")
        except json.JSONDecodeError:
            broken.append("cut_line")
    assert sorted(broken) == ["bad_utf8", "cut_line"]


def test_code_is_in_starcoders_fields_and_passes_the_filters(
    made: tuple[Path, SampleReport],
) -> None:
    directory, _ = made
    paths = sorted(directory.glob("code/*/*.parquet"))
    assert [path.parent.name for path in paths] == ["c", "javascript", "python"]
    for path in paths:
        rows = pq.read_table(path)
        assert rows.schema.equals(SCHEMA_OF_CODE)
        for number, text in enumerate(rows["content"].to_pylist()):
            record = Record(number, text=text)
            screen(record, Filters(), "code_Zyyy", None)
            assert record.reason is None, text


def test_the_same_sample_again_is_left_alone(made: tuple[Path, SampleReport]) -> None:
    directory, report = made
    before = (directory / "sample.json").stat().st_mtime_ns
    assert write_sample(directory, LANGUAGES, MEGABYTES, seed=3) == report
    assert (directory / "sample.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="another sample"):
        write_sample(directory, LANGUAGES, MEGABYTES, seed=4)


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(UserError, match="is not empty"):
        write_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("languages", "megabytes"), [(1, 6.0), (5000, 6.0), (24, 0.0), (24, -1.0), (24, float("nan"))]
)
def test_impossible_numbers_are_refused(tmp_path: Path, languages: int, megabytes: float) -> None:
    with pytest.raises(UserError):
        write_sample(tmp_path / "sample", languages, megabytes)
    assert not any(tmp_path.iterdir())
