"""Manifests over built strata: what is absent and why, what is refused, what held-out text is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from pipelines.describe import make_heldout
from pipelines.inventory import inventory, wanted
from pipelines.manifests import make_manifest
from pipelines.near import group_hash, shingles
from schemas import manifest as manifests
from schemas.errors import UserError
from schemas.shard import open_shard
from schemas.store import join
from schemas.stratum import HELDOUT, stratum_folder
from tests import corpora
from tests.building import Built, build_store
from trainer.phase import Phase


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built]:
    folder = tmp_path_factory.mktemp("manifests")
    root = corpora.write_corpus(folder / "raw", {"fao_Latn": 40, "isl_Latn": 90})
    return root, build_store(corpora.recipe(root), folder / "store")


def test_quotas_follow_targets_and_targets_the_pool(built: tuple[Path, Built]) -> None:
    root, b = built
    recipe = corpora.recipe(root)
    manifest, url = make_manifest(recipe, "only", b.store, b.seal, b.strata)
    assert sum(s.target_tokens for s in manifest.strata) == 8_000
    assert sum(s.rows for s in manifest.strata) == sum(s.rows for s in manifest.languages)
    assert {s.language for s in manifest.languages} == {"eng", "fao", "isl"}
    shards = manifests.load_shards(url)
    for index, stratum in enumerate(manifest.strata):
        mine = shards.filter(pc.equal(shards.column("stratum"), index))
        assert pc.sum(mine.column("rows")).as_py() == stratum.rows_available
    assert manifests.load(url).model_copy(update={"shard_table": ""}) == manifest
    assert manifests.store_of(url) == b.store


def test_absent_languages_are_listed_with_reasons(built: tuple[Path, Built]) -> None:
    root, b = built
    recipe = corpora.recipe(root, languages="extend-110", tau=0.5)
    manifest, _ = make_manifest(recipe, "only", b.store, b.seal, b.strata)
    assert len(manifest.absent) == 110 - 2  # isl of the 110, and eng, are there; fao is no member
    assert {a.reason for a in manifest.absent} == {"no source has it"}
    strict = corpora.recipe(root, languages="extend-110", strict=True)
    with pytest.raises(UserError, match="108 of its languages are absent"):
        make_manifest(strict, "only", b.store, b.seal, b.strata)


def test_a_named_language_that_no_source_has_is_refused(built: tuple[Path, Built]) -> None:
    root, _ = built
    recipe = corpora.recipe(root, languages=("fao", "isk"))
    with pytest.raises(UserError, match="'isk'; close: isl"):
        wanted(recipe, inventory(recipe))


def test_a_pool_that_the_text_cannot_fill_is_refused(built: tuple[Path, Built]) -> None:
    root, b = built
    recipe = corpora.recipe(root, pool_tokens=10**9)
    with pytest.raises(UserError, match=r"phases\.only\.pool_tokens asks for 1,000,000,000"):
        make_manifest(recipe, "only", b.store, b.seal, b.strata)


def test_held_out_text_is_in_no_training_stratum(built: tuple[Path, Built]) -> None:
    root, b = built
    texts: dict[bool, set[bytes]] = {True: set(), False: set()}
    for stratum in b.strata:
        for entry in stratum.shards:
            folder = stratum_folder(b.store, stratum.name, stratum.id)
            table = open_shard(join(folder, entry.name)).table
            texts[stratum.name.tier == HELDOUT] |= set(table.column("text_hash").to_pylist())
    assert texts[True]
    assert not texts[True] & texts[False]
    heldout, _ = make_heldout(corpora.recipe(root), b.store, b.seal, b.strata)
    documents = {f"{s.source}/{s.language}": s.documents for s in heldout.strata}
    assert documents["fineweb2/fao_Latn"] == 4
    assert documents["dclm/eng_Latn"] == 1  # one per cent of 60, and at least one


def hashed(text: str) -> int:
    return group_hash(0, shingles(text))


def test_held_out_text_is_chosen_whatever_its_length() -> None:
    draw = np.random.default_rng(0)
    short = [hashed(" ".join(map(str, draw.integers(0, 10**6, 20)))) for _ in range(2000)]
    long = [hashed(" ".join(map(str, draw.integers(0, 10**6, 900)))) for _ in range(200)]
    tenth = 2**64 // 10
    assert 0.07 < np.mean(np.array(short, "u8") < tenth) < 0.13
    assert 0.03 < np.mean(np.array(long, "u8") < tenth) < 0.18
    text = "one two three four five six"
    assert hashed(text) == hashed(text.upper().replace(" ", "\n"))


def test_what_the_manifest_says_is_what_the_loader_delivers(built: tuple[Path, Built]) -> None:
    root, b = built
    recipe = corpora.recipe(root, budget_tokens=12_000)
    manifest, url = make_manifest(recipe, "only", b.store, b.seal, b.strata)
    data = Phase(url, b.store)
    rows = np.zeros(len(manifest.strata), int)
    for window in range(manifest.windows):
        rows += np.bincount(data.plan(window).stratum, minlength=rows.size)
    assert rows.tolist() == [stratum.rows for stratum in manifest.strata]
