"""`mmbert ls` and `mmbert gc`: what a store holds, and what of it nothing refers to."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from flows.cli import main
from pipelines.describe import make_heldout, make_run
from pipelines.manifests import make_manifest
from pipelines.verify import verify_store
from schemas.manifest import name_manifest
from tests import corpora
from tests.building import build_store, files_of
from trainer.phase import Phase


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four mixtures: the first is trained with, the second has a name, the last is main.

    Beside them a stratum that none of them reads, orphan shards, and text that is held out.
    """
    folder = tmp_path_factory.mktemp("holdings")
    root = corpora.write_corpus(folder / "raw", {"fao_Latn": 30, "isl_Latn": 60})
    recipe = corpora.recipe(root)
    built = build_store(recipe, folder / "store")
    heldout, heldout_url = make_heldout(recipe, built.store, built.seal, built.strata)
    assert heldout.strata
    mixtures = []
    for tau in (0.7, 0.5, 0.3, 0.1):
        mixture = corpora.recipe(root, tau=tau, languages=("isl",))
        mixtures.append(make_manifest(mixture, "only", built.store, built.seal, built.strata))
    make_run(recipe, built.store, built.seal, heldout_url, {"only": mixtures[0][1]})
    name_manifest(built.store, mixtures[1][0], "kept")
    stratum = Path(built.store.url) / "strata" / "fineweb2" / "fao_Latn" / "all"
    (identity,) = stratum.iterdir()
    shutil.copytree(identity, stratum / "0123456789abcdef")
    (stratum / "0123456789abcdef" / "stratum.json").unlink()
    return folder / "store"


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    """A copy of it that was written two days ago."""
    shutil.copytree(built, tmp_path / "store")
    then = time.time() - 2 * 24 * 3600
    for number, path in enumerate(sorted((tmp_path / "store").rglob("*"))):
        os.utime(path, (then + number, then + number))
    return tmp_path / "store"


def gc(store: Path, *options: str) -> int:
    return main(["gc", "--store", str(store), "--keep", "0", *options])


def test_a_list_names_strata_manifests_and_runs(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ls", "--store", str(store), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = {stratum["name"] for stratum in told["strata"]}
    assert {"fineweb2/isl_Latn/all", "dclm/eng_Latn/heldout"} <= names
    assert sorted(name for m in told["manifests"] for name in m["names"]) == ["kept", "main"]
    assert len(told["manifests"]) == 4
    assert len(told["runs"]) == 1
    assert all(stratum["age_s"] > 24 * 3600 for stratum in told["strata"])
    assert main(["ls", "--store", str(store)]) == 0
    assert "fineweb2/all" in capsys.readouterr().out
    assert main(["ls", "--store", str(store / "none")]) == 2


def test_nothing_goes_without_a_yes(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_of(store)
    assert gc(store, "--dry-run") == 0
    assert gc(store) == 2
    assert "add --yes" in capsys.readouterr().err
    assert files_of(store) == before


def test_what_a_run_or_a_name_needs_stays(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = files_of(store / "runs")
    assert gc(store, "--yes", "--json") == 0
    gone = json.loads(capsys.readouterr().out)["garbage"]
    assert sum(found["kind"] == "manifest" for found in gone) == 1
    assert {f["place"] for f in gone if f["kind"] == "orphan shards"} == {
        "strata/fineweb2/fao_Latn/all/0123456789abcdef"
    }
    assert not list((store / "spills").glob("*/spill.json"))
    assert files_of(store / "runs") == runs
    assert verify_store_of(store) == ()
    (run,) = (store / "runs").glob("*/run.json")
    manifest = json.loads(run.read_text())["phases"][0]["manifest"]
    assert sum(1 for _ in Phase(str(store / manifest)).packs())
    assert gc(store, "--yes") == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_as_many_manifests_stay_as_are_to_be_kept(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gc", "--store", str(store), "--keep", "4", "--dry-run", "--json"]) == 0
    gone = json.loads(capsys.readouterr().out)["garbage"]
    assert all(found["kind"] != "manifest" for found in gone)


def test_what_is_younger_than_a_day_stays(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_of(built)
    assert gc(built, "--yes") == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert files_of(built) == before


def verify_store_of(store: Path) -> tuple[str, ...]:
    from schemas.store import Store

    return verify_store(Store.at(str(store))).problems
