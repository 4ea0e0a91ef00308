"""hf:// with its real client against a hub on loopback: pinned revisions, and a real sample."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.cli import main
from pipelines.inventory import inventory
from pipelines.remote import pinned
from pipelines.sample import from_hub
from pipelines.sample.from_hub import write_hub_sample
from schemas.errors import UserError
from schemas.text import Source
from tests import corpora
from tests.building import build_store
from tests.hub import Hub, hub_of

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """The three data sets in small, where they really lie."""
    root = tmp_path / "hub"
    fineweb2, dclm, dolmino = (root / place.split("datasets/")[1] for place in from_hub.PLACES)
    for language in ("isl_Latn", "rus_Cyrl", "fao_Latn"):
        for split, count in (("train", 30), ("test", 10)):
            texts = corpora.sentences(language + split, count)
            corpora.write_fineweb2(fineweb2, language, texts, split)
            corpora.write_fineweb2(fineweb2, language, texts, split, "001_00000")
    lines = [corpora.dclm_line(t, str(i)) for i, t in enumerate(corpora.sentences("english", 200))]
    folder = "global-shard_01_of_10/local-shard_0_of_10/shard_00000000_processed.jsonl.zst"
    corpora.write_dclm(dclm, lines, folder)
    for subset in ("flan", "math"):
        corpora.write_dolmino(dolmino, subset, corpora.sentences(subset, 200))
    for place in (fineweb2, dclm, dolmino):
        (place / "README.md").write_text("a card")
    with hub_of(root) as server:
        yield server


def test_a_place_on_the_hub_is_pinned_to_its_commit(hub: Hub) -> None:
    place = "hf://datasets/HuggingFaceFW/fineweb-2"
    hub.commits["v2.0.0"] = NEW
    assert pinned(f"{place}/data") == (f"{place}@{OLD}/data", OLD)
    assert pinned(f"{place}@v2.0.0/data") == (f"{place}@{NEW}/data", NEW)
    assert pinned(f"{place}@{NEW}/data") == (f"{place}@{NEW}/data", NEW)
    assert pinned("s3://bucket/data") == ("s3://bucket/data", "")


def test_a_build_reads_one_revision_and_records_it(hub: Hub, tmp_path: Path) -> None:
    source = Source(path=f"{from_hub.FINEWEB2}/data", format="fineweb2")
    made = corpora.recipe(tmp_path, {}, shares={"multilingual": 1}, languages=("fao",))
    recipe = made.model_copy(update={"sources": {"fineweb2": source}})
    origins = inventory(recipe)
    assert {origin.revision for origin in origins} == {OLD}
    assert all(f"@{OLD}/" in file.url for origin in origins for file in origin.files)
    assert all(len(file.version) == 64 for origin in origins for file in origin.files)
    built = build_store(recipe, tmp_path / "store")
    assert {stratum.made_from["revision"] for stratum in built.strata} == {OLD}
    assert built.stratum("fineweb2/fao_Latn/all").ledger.read == 60
    hub.commits["main"] = NEW  # another commit with the same files: nothing to build
    assert build_store(recipe, tmp_path / "store").num_new == 0


def test_a_sample_of_the_hub_is_small_and_reads_like_the_made_one(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    assert (
        main(["sample", str(folder), "--from-hub", "--languages", "4", "--megabytes", "0.02"]) == 0
    )
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {
        "SOURCES",
        "fineweb2/data/isl_Latn/train/000_00000.parquet",
        "fineweb2/data/isl_Latn/test/000_00000.parquet",
        "dclm/global-shard_01_of_10/local-shard_0_of_10/shard_00000000_processed.jsonl.zst",
        "dolmino/data/flan/flan-0000.json.gz",
        "dolmino/data/math/math-0000.json.gz",
    } <= names
    told = (folder / "SOURCES").read_text()
    assert f"datasets/mlfoundations/dclm-baseline-1.0@{OLD}, CC-BY 4.0" in told
    first = pq.read_table(folder / "fineweb2/data/isl_Latn/train/000_00000.parquet")
    assert 0 < first.num_rows <= 8
    recipe = corpora.recipe(folder)
    built = build_store(recipe, tmp_path / "store")
    assert all(not s.ledger.dropped.get("bad_json") for s in built.strata)
    english = built.stratum("dclm/eng_Latn/all").ledger
    assert 0 < english.read < 40


def test_what_is_there_is_not_overwritten(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    with pytest.raises(UserError, match="is not empty"):
        write_hub_sample(tmp_path / "mine", 4, 0.1, lambda _: None)


def test_a_hub_that_cannot_be_reached_is_one_sentence(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.inputs.HUB_LOOK_UP_S", 2.0)
    shutil.rmtree(hub.folder)
    assert main(["sample", str(tmp_path / "none"), "--from-hub"]) == 2
    assert "hub" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
