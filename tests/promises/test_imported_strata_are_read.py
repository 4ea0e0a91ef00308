"""Strata imported from MDS shards count as built ones: planned, weighed, delivered to the row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flows import cli
from pipelines.sample import write_sample
from schemas import manifest as manifests
from schemas.digest import Json
from schemas.shard import open_shard
from schemas.store import Store
from tests.mds import Sample, write_mds

Command = Callable[..., str]

RECIPE = """\
extends = "tiny"
name = "mine"

[sources.published]
format = "imported"
licence = "MIT"
"""
PHASE = "pretrain"


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Run a command on the recipe, in a store of its own; what it prints."""
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)
    write_sample(tmp_path / "sample", languages=3, megabytes=0.4)
    (tmp_path / "mine.toml").write_text(RECIPE)
    (tmp_path / "one.toml").write_text("[build]\nworkers = 1\n")
    settings: dict[str, object] = {
        f"sources.{name}.path": tmp_path / "sample" / name
        for name in ("fineweb2", "dclm", "dolmino")
    }
    settings |= {
        "tokenizer.train.vocab_size": 1000,
        f"phases.{PHASE}.temperature_sources": '["fineweb2", "published"]',
        f"phases.{PHASE}.languages": '["isl", "fao"]',
        f"phases.{PHASE}.pool_tokens": 60_000,
        f"phases.{PHASE}.budget_tokens": 90_000,
    }
    for other in ("extend", "decay-eng", "decay-cont", "decay-all"):
        settings[f"phases.{other}.pool_tokens"] = 50_000
        settings[f"phases.{other}.budget_tokens"] = 40_000
    sets = [f"--set={key}={value}" for key, value in settings.items()]

    def run(*arguments: str, code: int = 0) -> str:
        capfd.readouterr()
        where = ["--on", str(tmp_path / "one.toml"), "--store", str(tmp_path / "store")]
        found = cli.main([arguments[0], *where, *sets, *arguments[1:]])
        told = capfd.readouterr()
        assert found == code, told.err
        return told.out if code == 0 else told.err

    return run


def shards(folder: Path, documents: int, seed: int) -> str:
    """MDS shards of chunks with BOS and EOS, of ids below 1,000."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(20, 200, documents)
    samples = [
        Sample(f"{seed}-{i}", [2, *draw.integers(400, 900, n).tolist(), 1])
        for i, n in enumerate(lengths)
    ]
    return write_mds(folder, [samples[: documents // 2], samples[documents // 2 :]])


def languages(plan: dict[str, Json]) -> dict[str, Json]:
    (phase,) = plan["phases"]
    return {share["language"]: share for share in phase["languages"]}


def test_an_imported_source_is_planned_and_mixed_like_any_other(
    command: Command, tmp_path: Path
) -> None:
    recipe = str(tmp_path / "mine.toml")
    told = command("data", recipe, "--no-server", "--phase", PHASE, code=2)
    assert "run `mmbert import-mds URL --source published" in told

    given = ("--source", "published", "--language", "fao_Latn", "--recipe", recipe)
    command("import-mds", shards(tmp_path / "train", 120, seed=0), *given)
    held = shards(tmp_path / "test", 20, seed=1)
    command("import-mds", held, *given, "--tier", "heldout")

    before = json.loads(command("plan", recipe, "--phase", PHASE, "--json"))
    made = json.loads(command("data", recipe, "--no-server", "--phase", PHASE, "--json"))
    after = json.loads(command("plan", recipe, "--phase", PHASE, "--json"))
    assert before["estimated"]
    assert not after["estimated"]
    manifest = manifests.load(made["manifests"][PHASE])
    exact = {s.language: s for s in manifest.languages}
    assert set(languages(before)) == set(languages(after)) == set(exact)
    for language, share in exact.items():
        assert languages(after)[language]["rows"] == share.rows
        assert languages(after)[language]["tokens"] == share.tokens
    (stratum,) = [s for s in manifest.strata if s.source == "published"]
    assert stratum.language == "fao_Latn"
    assert stratum.rows == exact["fao"].rows > 0

    store = Store.at(str(tmp_path / "store"))
    table = manifests.load_shards(made["manifests"][PHASE]).to_pylist()
    mine = [row for row in table if manifest.strata[row["stratum"]] == stratum]
    documents = sum(len(open_shard(store.resolve(row["url"])).lengths) for row in mine)
    assert documents == sum(row["documents"] for row in mine) == 120
    assert made["run"] is None
    command("data", recipe, "--no-server")
    (heldout,) = (tmp_path / "store" / "heldout").glob("*.json")
    assert "published" in {s["source"] for s in json.loads(heldout.read_text())["strata"]}

    (folder,) = (tmp_path / "store" / "strata" / "published" / "fao_Latn" / "all").iterdir()
    shutil.copytree(folder, folder.with_name("another"))
    told = command("plan", recipe, "--phase", PHASE, code=2)
    assert "published/fao_Latn/all was imported twice" in told
    assert told.rstrip().endswith("delete the folder that is not meant")


def test_a_language_of_another_tokenizer_is_refused_by_name(
    command: Command, tmp_path: Path
) -> None:
    recipe = str(tmp_path / "mine.toml")
    given = ("--source", "published", "--recipe", recipe, "--language")
    command("import-mds", shards(tmp_path / "fao", 120, seed=0), *given, "fao_Latn")
    command("import-mds", shards(tmp_path / "isl", 60, seed=1), *given, "isl_Latn")
    command("data", recipe, "--no-server", "--phase", PHASE)

    other = "--set=tokenizer.train.vocab_size=1100"
    command("import-mds", shards(tmp_path / "fao", 120, seed=0), *given, "fao_Latn", other)
    for asked in ("data", "plan"):
        server = ["--no-server"] * (asked == "data")
        told = command(asked, recipe, *server, "--phase", PHASE, other, code=2)
        assert " made published/isl_Latn/all in " in told
        assert "fao" not in told.splitlines()[-1]
        assert "run `mmbert import-mds` for each again" in told

    command("import-mds", shards(tmp_path / "isl", 60, seed=1), *given, "isl_Latn", other)
    command("data", recipe, "--no-server", "--phase", PHASE, other)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("--source", "c4"), "--source c4: recipe mine has the sources fineweb2"),
        (("--tier", "test"), "--tier test: give all, which is trained on, or heldout"),
        (("--language", "Faroese"), "'Faroese' is not a language as FineWeb2 writes it"),
    ],
)
def test_a_mistake_is_one_sentence(
    command: Command, tmp_path: Path, change: tuple[str, str], sentence: str
) -> None:
    given = {"--source": "published", "--language": "fao_Latn", "--tier": "all"}
    options = [part for pair in (given | {change[0]: change[1]}).items() for part in pair]
    recipe = str(tmp_path / "mine.toml")
    told = command("import-mds", str(tmp_path), *options, "--recipe", recipe, code=2)
    assert sentence in told
