"""`mmbert verify` finds one changed byte in any file of a store and names it."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from flows import cli
from pipelines.describe import make_heldout, make_run
from pipelines.manifests import make_manifest
from pipelines.verify import verify_manifest, verify_store
from pipelines.verify.findings import Report
from schemas.errors import UserError
from schemas.find_manifest import find_manifest
from schemas.manifest import load
from schemas.shard import open_shard
from schemas.store import Store, json_file, local_path
from tests import corpora
from tests.building import build_store
from trainer import checkpoint
from trainer.checkpoint import Point
from trainer.convert.to_transformers import export
from trainer.distributed import Ranks
from trainer.initialise import build
from trainer.model import ModelConfig
from trainer.optimiser import build_optimiser

FLIPS = 6  # of each kind of file: its first byte, its last and some between

KINDS = {
    "shard": "strata/**/all/*/shard-*.arrow",
    "held-out shard": "strata/**/heldout/*/shard-*.arrow",
    "drops": "strata/fineweb2/fao_Latn/all/*/dropped.parquet",
    "stratum": "strata/**/stratum.json",
    "manifest": "manifests/*/*/*/manifest.json",
    "shard table": "manifests/*/*/*/shards.arrow",
    "name": "manifests/*/*/main.json",
    "exclusions": "exclusions/[!g]*.parquet",
    "held-out text": "heldout/*.json",
    "tokenizer": "tokenizers/*/tokenizer.json",
    "seal": "tokenizers/*/seal.json",
    "digests of a tokenizer": "tokenizers/*/digests.json",
    "run": "runs/*/run.json",
    "checkpoint": "runs/*/checkpoints/*/*.distcp",
    "its metadata": "runs/*/checkpoints/*/.metadata",
    "its point": "runs/*/checkpoints/*/point.json",
    "the latest": "runs/*/checkpoints/latest.json",
    "model": "runs/*/models/*/model.safetensors",
    "configuration": "runs/*/models/*/config.json",
    "digests of a model": "runs/*/models/*/digests.json",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Strata with cross-source duplicates, a manifest, a run with a checkpoint and a model."""
    root = tmp_path_factory.mktemp("verify")
    corpora.write_corpus(root, {"fao_Latn": 30})
    shared = corpora.sentences("english", 60)[:5] + corpora.sentences("english", 60)[:1]
    corpora.write_fineweb2(root / "fineweb2", "fao_Latn", shared, name="000_00001")
    recipe = corpora.recipe(root, pool_tokens=4000, budget_tokens=4000)
    built = build_store(recipe, root / "store")
    _, manifest = make_manifest(recipe, "only", built.store, built.seal, built.strata)
    _, heldout = make_heldout(recipe, built.store, built.seal, built.strata)
    run, url = make_run(recipe, built.store, built.seal, heldout, {"only": manifest})
    folder = local_path(url.rsplit("/", 1)[0])
    assert folder is not None
    model = build(ModelConfig(64, 32, 4, 4, 24), 0)
    point = Point.before(run.id, "only", 7)
    ranks = Ranks(0, 1, torch.device("cpu"))
    checkpoint.save(folder / "checkpoints", ranks, model, build_optimiser(model, 1.0, 0.0), point)
    export(model, folder / "models" / "only", 1e4, 1e4)
    return built.store


def flipped(store: Store, path: Path, place: int, bits: int) -> Report:
    """What is found with one byte changed."""
    data = path.read_bytes()
    changed = bytearray(data)
    changed[place] ^= bits
    path.write_bytes(changed)
    try:
        return verify_store(store)
    finally:
        path.write_bytes(data)


def test_an_untouched_store_has_no_problem(store: Store) -> None:
    report = verify_store(store)
    assert report.problems == ()
    assert report.num_undigested == 0
    root = Path(store.url)
    beside = ("spills", "exclusions/groups", "tokenizers/trained")  # may be deleted
    files = [path for path in root.rglob("*") if path.is_file()]
    files = [p for p in files if not str(p.relative_to(root)).startswith(beside)]
    assert report.num_files == len(files)
    assert report.num_bytes == sum(path.stat().st_size for path in files)


@pytest.mark.parametrize("kind", KINDS)
def test_one_changed_byte_is_found_and_its_file_named(store: Store, kind: str) -> None:
    draw = random.Random(kind)
    path = draw.choice(sorted(Path(store.url).glob(KINDS[kind])))
    size = path.stat().st_size
    places = [0, size - 1, *(draw.randrange(size) for _ in range(FLIPS - 2))]
    for place in places:
        report = flipped(store, path, place, 1 << draw.randrange(8))
        name = str(path.relative_to(store.url))
        assert any(problem.startswith(f"{name}: ") for problem in report.problems), (place, size)
        assert all("; " in problem for problem in report.problems)  # says what mends it
    assert verify_store(store).problems == ()


def test_the_document_is_named_where_it_shows(store: Store) -> None:
    path = sorted(Path(store.url).glob("strata/dclm/**/all/*/shard-*.arrow"))[0]
    shard = open_shard(str(path))
    start = path.read_bytes().index(shard.document(3).tobytes())
    name = shard.table.column("doc_id")[3].as_py()
    (problem,) = flipped(store, path, start + 3, 0x80).problems  # the highest bit of a token
    assert f"document 3, {name}, has token 2,147,48" in problem


def test_a_manifest_is_verified_with_all_that_it_names_and_no_more(store: Store) -> None:
    root = Path(store.url)
    url = find_manifest(store, "test/only")
    whole = verify_manifest(store, url)
    assert whole.problems == ()
    assert whole.num_files < verify_store(store).num_files
    for kind, found in (("shard", 1), ("exclusions", 1), ("seal", 1), ("model", 0), ("run", 0)):
        path = sorted(root.glob(KINDS[kind]))[0]
        data = path.read_bytes()
        path.write_bytes(data[:-3] + b"XYZ")
        assert len(verify_manifest(store, url).problems) == found, kind
        path.write_bytes(data)


@pytest.mark.parametrize("kind", ["shard", "drops", "shard table", "exclusions", "checkpoint"])
def test_a_missing_file_is_named(store: Store, kind: str) -> None:
    path = sorted(Path(store.url).glob(KINDS[kind]))[0]
    aside = path.rename(path.with_name(".aside"))
    problems = verify_store(store).problems
    aside.rename(path)
    assert any(p.startswith(f"{path.relative_to(store.url)}: is missing; ") for p in problems)


def test_a_manifest_has_many_names(store: Store) -> None:
    url = find_manifest(store, "test/only")
    identity = load(url).id
    named = ("test/only/main", f"test/only/{identity}", identity, identity[:6], url)
    assert {find_manifest(store, name) for name in named} == {url}
    assert find_manifest(store, url.removesuffix("/manifest.json")) == url
    with pytest.raises(UserError, match=r"give RECIPE/PHASE \(there are: test/only\)"):
        find_manifest(store, "test/decay")


def test_the_command_says_how_much_it_read_and_ends_with_1_where_there_is_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)
    assert cli.main(["verify", "--store", store.url]) == 0
    assert "no problem in" in capfd.readouterr().out.splitlines()[-1]
    path = sorted(Path(store.url).glob(KINDS["model"]))[0]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"\x00")
    assert cli.main(["verify", "--store", store.url, "--json"]) == 1
    told = json.loads(capfd.readouterr().out)
    path.write_bytes(data)
    assert [p.split(": ")[0] for p in told["problems"]] == [str(path.relative_to(store.url))]
    assert told["files"] > 20
    assert cli.main(["verify", "test/decay", "--store", store.url]) == 2
    assert cli.main(["verify", "--store", f"{store.url}/nowhere"]) == 2


def test_what_an_earlier_version_wrote_is_compared_by_content(store: Store, tmp_path: Path) -> None:
    """It had no digests.json, and stratum.json, manifest.json and run.json lacked some."""
    shutil.copytree(store.url, tmp_path / "store")
    for path in (tmp_path / "store").rglob("*.json"):
        content = json.loads(path.read_bytes())
        if path.name == "digests.json":
            path.unlink()
        elif {"checksum", "drops", "shard_table"} & content.keys():
            for key in ("checksum", "drops", "shard_table"):
                content.pop(key, None)
            path.write_bytes(json_file(content))
    report = verify_store(Store.at(str(tmp_path / "store")))
    assert report.problems == ()
    assert report.num_undigested > 0
