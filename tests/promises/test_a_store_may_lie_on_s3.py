"""I7 on an object store: strata and manifests on S3 have the bytes of those on a local disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipelines.manifests import make_manifest
from pipelines.verify import verify_store
from schemas.recipe import Recipe
from schemas.store import Store, exists, local_path, write_bytes
from tests import corpora
from tests.building import build_store, files_of
from tests.servers import moto_s3


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, moto_s3(patch):
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket/store"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    root = corpora.write_corpus(tmp_path_factory.mktemp("raw"), {"fao_Latn": 40, "isl_Latn": 20})
    return corpora.recipe(root)


def objects(url: str) -> dict[str, str]:
    """Relative name -> sha256 of every object."""
    fs, path = fsspec.core.url_to_fs(url)
    return {
        name.removeprefix(f"{path}/"): hashlib.sha256(fs.cat_file(name)).hexdigest()
        for name in fs.find(path)
    }


def published(files: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if not name.startswith("spills/")}


def make(recipe: Recipe, url: str) -> int:
    """Build strata and manifests; how many origins were new."""
    built = build_store(recipe, url)
    make_manifest(recipe, "only", built.store, built.seal, built.strata)
    return built.num_new


def test_a_store_on_s3_has_the_bytes_of_a_local_one(
    s3: str, recipe: Recipe, tmp_path: Path
) -> None:
    make(recipe, str(tmp_path))
    assert make(recipe, s3) > 0
    local = published(files_of(tmp_path))
    assert any(name.startswith("manifests/") for name in local)
    assert any("shard-" in name for name in local)
    assert published(objects(s3)) == local
    assert make(recipe, s3) == 0
    assert not verify_store(Store.at(s3)).problems
    assert published(objects(s3)) == local


def test_what_another_process_wrote_is_seen(s3: str) -> None:
    """Listings are not kept: a worker's files appear between two looks."""
    folder = f"{s3}/looks"
    write_bytes(f"{folder}/one", b"1")
    fs, path = fsspec.core.url_to_fs(folder)
    assert len(fs.ls(path)) == 1
    other = fsspec.filesystem("s3", skip_instance_cache=True)
    other.pipe_file(f"{path}/two", b"2")
    assert exists(f"{folder}/two")
    assert len(fs.ls(path)) == 2
    Store.at(s3).remove(folder)
    assert not exists(f"{folder}/one")
    assert local_path(folder) is None
