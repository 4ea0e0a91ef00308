"""A document is found by any of its names, in no more shards than can hold it."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec
import pytest

from pipelines.describe import make_heldout, make_run
from pipelines.manifests import make_manifest
from schemas import run as runs
from schemas.store import Store
from tests import corpora
from tests.building import build_store
from trainer import shard_cache
from trainer.sightings import find
from trainer.timeline import Timeline


@pytest.fixture(scope="module", params=[0, 1], ids=["as built", "imported with another seed"])
def timeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    """A run over strata of several shards, as a build or an import makes them; not begun."""
    folder = tmp_path_factory.mktemp("sightings")
    root = corpora.write_corpus(folder / "raw", {"fao_Latn": 60, "isl_Latn": 90})
    recipe = corpora.recipe(root)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipelines.build.TOKENS_PER_SHARD", 700)
        built = build_store(recipe, folder / "store")
    recipe = recipe.model_copy(update={"seed": recipe.seed + request.param})
    _, heldout = make_heldout(recipe, built.store, built.seal, built.strata)
    _, manifest = make_manifest(recipe, "only", built.store, built.seal, built.strata)
    _, url = make_run(recipe, built.store, built.seal, heldout, {"only": manifest})
    return Timeline(runs.load(url), built.store, Path(url).parent)


def test_it_is_found_by_its_id_its_url_and_its_data_sets_own_id(timeline: Timeline) -> None:
    shards = timeline.data("only").shards
    for index, digest in enumerate(shards.digests.tolist()):
        for document in shards.documents(index).select(["doc_id", "url"]).to_pylist()[:2]:
            doc_id = document["doc_id"]
            for name in filter(None, (doc_id, doc_id.partition(":")[2], document["url"])):
                found, _ = find(timeline, name)
                assert [(f.doc_id, f.shard) for f in found] == [(doc_id, f"{digest:016x}")]


def test_an_id_that_names_its_source_is_looked_for_in_one_shard_of_a_stratum(
    timeline: Timeline,
) -> None:
    data = timeline.data("only")
    strata = [s for s in data.manifest.strata if s.source == "fineweb2"]
    assert data.shards.digests.size > 8 > 2 == len(strata)
    for number in range(20):
        found, looked = find(timeline, f"fineweb2:none-{number}")
        assert not found
        assert 0 < looked <= len(strata)
    assert find(timeline, "") == find(timeline, "none") == ([], data.shards.digests.size)


def test_where_nothing_says_how_documents_were_keyed_all_shards_are_looked_through(
    timeline: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = timeline.data("only")
    urls = [data.shards.url(index) for index in range(data.shards.digests.size)]
    monkeypatch.setattr("trainer.sightings.load_stratum", lambda folder: None)
    _, looked = find(timeline, "fineweb2:none")
    assert looked == sum("/fineweb2/" in url for url in urls) > 2


def test_a_remote_store_larger_than_the_cache_is_looked_through(
    timeline: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Store(f"memory://{uuid.uuid4().hex}")
    fsspec.filesystem("memory").put(timeline.store.url, there.url, recursive=True)
    sizes = [path.stat().st_size for path in Path(timeline.store.url).rglob("shard-*.arrow")]
    monkeypatch.setenv(shard_cache.FOLDER, str(tmp_path / "cache"))
    monkeypatch.setenv(shard_cache.BOUND, str(3 * max(sizes) / 1e9))
    remote = Timeline(timeline.run, there, timeline.folder)
    assert find(remote, "none") == find(timeline, "none")
    assert len(list((tmp_path / "cache").glob("*.arrow"))) < find(remote, "none")[1]
