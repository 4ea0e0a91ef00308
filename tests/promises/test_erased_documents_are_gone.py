"""Erased tokens are overwritten in place; the store still verifies, and everything still loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from pipelines.build_plan import plan_build
from pipelines.erase import erase
from pipelines.inventory import inventory
from pipelines.manifests import make_manifest
from pipelines.verify import verify_store
from schemas import erased as records
from schemas import shard
from schemas.digest import ID_LENGTH, sha256
from schemas.errors import UserError
from schemas.recipe import Recipe
from tests import corpora
from tests.building import Built, build_store, files_of
from trainer.phase import Phase

GONE = "https://example.org/isl_Latn/20"


@pytest.fixture
def built(tmp_path: Path) -> tuple[Recipe, Built]:
    root = corpora.write_corpus(tmp_path / "raw", {"isl_Latn": 60})
    recipe = corpora.recipe(root)
    return recipe, build_store(recipe, tmp_path / "store")


def strata(built: Built) -> Path:
    return Path(built.store.url) / "strata"


def _shards(built: Built) -> list[shard.Shard]:
    return [shard.open_shard(str(path)) for path in strata(built).rglob("shard-*.arrow")]


def test_the_tokens_of_a_document_are_overwritten_and_nothing_else(
    built: tuple[Recipe, Built],
) -> None:
    recipe, b = built
    _, url = make_manifest(recipe, "only", b.store, b.seal, b.strata)
    before = {name: (strata(b) / name).read_bytes() for name in files_of(strata(b))}
    erasure = erase(b.store, [GONE, "https://example.org/nowhere"])
    (document,) = erasure.documents
    assert document.url == GONE
    assert erasure.unknown == ("https://example.org/nowhere",)
    (holder,) = erasure.holders
    assert b.store.resolve(holder.manifest) == url
    assert (holder.documents, holder.excluded) == (1, 0)

    changed = {n for n in before if (strata(b) / n).read_bytes() != before[n]}
    assert {b.store.url + "/strata/" + name for name in changed} == {document.shard}
    (name,) = changed
    after = (strata(b) / name).read_bytes()
    differing = np.flatnonzero(np.frombuffer(before[name], "u1") != np.frombuffer(after, "u1"))
    assert differing.max() - differing.min() < 4 * document.num_tokens
    opened = shard.open_shard(document.shard)
    place = opened.table["url"].to_pylist().index(GONE)
    assert set(opened.document(place).tolist()) == {b.seal.special.unk}

    folder, file = document.shard.rsplit("/", 1)
    record = records.load(folder).shards[file]
    assert record.before == sha256(before[name])[:ID_LENGTH]
    assert record.after == sha256(after)


def test_an_id_is_erased_as_the_data_set_writes_it_and_with_its_repeats(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {})
    texts = corpora.sentences("isl_Latn", 8)
    first = corpora.write_fineweb2(root / "fineweb2", "isl_Latn", texts[:4])
    again = corpora.write_fineweb2(root / "fineweb2", "isl_Latn", texts[4:], name="other")
    ids = pq.read_table(first).column("id")
    pq.write_table(pq.read_table(again).set_column(1, "id", ids), again)  # the same ids once more
    b = build_store(corpora.recipe(root), tmp_path / "store")
    name = ids[2].as_py()
    erased = [d.doc_id for d in erase(b.store, [name]).documents]
    assert sorted(erased) == [f"fineweb2:{name}", f"fineweb2:{name}~2"]
    assert [d.doc_id for d in erase(b.store, [f"fineweb2:{name}~2"]).documents] == erased[1:]


def test_a_document_that_was_dropped_is_gone_from_what_was_read(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {})
    texts = corpora.sentences("isl_Latn", 8)
    corpora.write_fineweb2(root / "fineweb2", "isl_Latn", [*texts, texts[3]])
    recipe = corpora.recipe(root)
    b = build_store(recipe, tmp_path / "store")
    dropped = {"https://example.org/isl_Latn/3", "https://example.org/isl_Latn/8"}
    dropped -= {url for e in _shards(b) for url in e.table["url"].to_pylist()}
    before = len(list(Path(b.store.url).glob("spills/*")))
    erasure = erase(b.store, [*dropped])  # an exact duplicate: only its spill has it
    assert (erasure.documents, erasure.spills) == ((), 1)
    assert len(list(Path(b.store.url).glob("spills/*"))) == before - 1


def test_what_was_built_is_reused_loaded_and_verified(built: tuple[Recipe, Built]) -> None:
    recipe, b = built
    manifest, url = make_manifest(recipe, "only", b.store, b.seal, b.strata)
    erase(b.store, [GONE])
    assert verify_store(b.store).problems == ()
    plan = plan_build(recipe, b.store, b.seal, inventory(recipe))
    assert not plan.to_build
    assert make_manifest(recipe, "only", b.store, b.seal, plan.reused)[0].id == manifest.id
    assert sum(pack.ids.size for pack in Phase(url, b.store).packs())


def test_an_erasure_that_was_cut_off_is_seen_and_done_again(
    built: tuple[Recipe, Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, b = built
    with monkeypatch.context() as broken:
        broken.setattr("pipelines.erase._write_spans", lambda *_: None)  # killed before it wrote
        erase(b.store, [GONE])
    (problem,) = verify_store(b.store).problems
    assert "run the same `mmbert data erase` again" in problem
    erase(b.store, [GONE])
    assert verify_store(b.store).problems == ()


def test_a_changed_byte_of_an_erased_shard_is_found(built: tuple[Recipe, Built]) -> None:
    _, b = built
    path = Path(erase(b.store, [GONE]).documents[0].shard)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert verify_store(b.store).problems


def test_the_command_erases_by_a_file_and_data_still_builds(
    built: tuple[Recipe, Built], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, b = built
    listed = tmp_path / "ids.txt"
    listed.write_text(f"# one\n{GONE}\n")
    store = ("--store", b.store.url)
    assert main(["data", "erase", "--from", str(listed), *store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"][0]["url"] == GONE
    assert main(["data", "erase", "https://example.org/none", *store]) == 2
    assert "no document of" in capsys.readouterr().err
    assert main(["data", "no-such-recipe", *store]) == 2
    assert "there is no recipe no-such-recipe" in capsys.readouterr().err
    with pytest.raises(UserError, match="no document"):
        erase(b.store, ["none"])
