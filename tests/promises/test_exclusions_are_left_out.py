"""Documents that hold an evaluation text, or that someone asked to be left out, are not delivered.

They stay in their strata; manifests name the lists, and the loader delivers every other row.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.contamination import contaminated
from pipelines.manifests import make_manifest
from pipelines.takedowns import takedowns
from pipelines.verify import verify_store
from schemas import exclusions, shard
from schemas.catalogue import catalogue_of
from schemas.errors import UserError
from schemas.recipe import Exclusions, Recipe
from schemas.store import join
from schemas.stratum import stratum_folder
from tests import corpora
from tests.building import Built, build_store, files_of
from trainer.phase import Phase

KNOWN = corpora.sentences("isl_Latn", 60)[7]  # a whole document of the corpus below
INSIDE = " ".join(corpora.sentences("isl_Latn", 60)[11].split()[3:18])
SHARED_EVAL = Path("../shared/eval/sib200")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Built]:
    folder = tmp_path_factory.mktemp("exclusions")
    root = corpora.write_corpus(folder / "raw", {"fao_Latn": 30, "isl_Latn": 60})
    recipe = corpora.recipe(root)
    return recipe, build_store(recipe, folder / "store")


def ids(table: object) -> set[str]:
    return {row["doc_id"] for row in table.to_pylist()}


def where(built: Built, texts: set[str]) -> set[str]:
    """The doc ids of documents by a part of their URL."""
    found = set()
    for stratum in built.strata:
        for entry in stratum.shards:
            folder = stratum_folder(built.store, stratum.name, stratum.id)
            table = shard.open_shard(join(folder, entry.name)).table
            for doc_id, place in zip(
                table["doc_id"].to_pylist(), table["url"].to_pylist(), strict=True
            ):
                if place in texts:
                    found.add(doc_id)
    return found


def url(number: int) -> str:
    return f"https://example.org/isl_Latn/{number}"


def test_documents_with_an_evaluation_text_are_found(
    corpus: tuple[Recipe, Built], tmp_path: Path
) -> None:
    _, built = corpus
    tsv = tmp_path / "a.tsv.gz"
    tsv.write_bytes(gzip.compress(f"id\ttext\n1\t{KNOWN.upper()}\n2\tshort\n".encode()))
    lines = tmp_path / "b.jsonl"
    lines.write_text(json.dumps({"question": [{"text": INSIDE.replace(" ", ",  ")}]}) + "\n")
    catalogue = catalogue_of(built.strata)
    found = contaminated(built.store, built.seal, catalogue, [str(tmp_path / "*")])
    assert ids(found) == where(built, {url(7), url(11)})
    nothing = tmp_path / "c.txt"
    nothing.write_text("a sentence that stands nowhere in any of these documents, as it should be")
    assert not ids(contaminated(built.store, built.seal, catalogue, [str(nothing)]))


def test_what_was_looked_for_once_is_looked_up(
    corpus: tuple[Recipe, Built], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, built = corpus
    file = tmp_path / "a.txt"
    file.write_text(KNOWN)
    some = [s for s in built.strata if s.name.language == "isl_Latn"]
    first = contaminated(built.store, built.seal, catalogue_of(some), [str(file)])
    opened: list[str] = []
    real = shard.open_shard

    def watch(place: str) -> shard.Shard:
        opened.append(place)
        return real(place)

    monkeypatch.setattr("pipelines.search_shards.open_shard", watch)
    every = catalogue_of(built.strata)
    assert ids(contaminated(built.store, built.seal, every, [str(file)])) == ids(first)
    assert opened
    assert not any("isl_Latn" in place for place in opened)
    opened.clear()
    contaminated(built.store, built.seal, every, [str(file)])
    assert not opened


def test_a_takedown_names_ids_or_urls(corpus: tuple[Recipe, Built], tmp_path: Path) -> None:
    _, built = corpus
    (by_id,) = where(built, {url(20)})
    listed = tmp_path / "takedowns.txt"
    (native,) = where(built, {url(28)})
    own = native.partition(":")[2]  # as the data set writes it
    listed.write_text(
        f"# asked for by mail\n{by_id}\n\n{url(24)}\n{own}\nhttps://example.org/none\n"
    )
    found = takedowns(built.store, catalogue_of(built.strata), [str(listed)])
    assert ids(found) == where(built, {url(20), url(24), url(28)})
    with pytest.raises(UserError, match=r"exclusions.takedowns: .* names no file"):
        takedowns(built.store, catalogue_of(built.strata), [str(tmp_path / "none.txt")])


def test_what_is_listed_is_not_delivered_and_all_else_is(
    corpus: tuple[Recipe, Built], tmp_path: Path
) -> None:
    recipe, built = corpus
    file, listed = tmp_path / "a.txt", tmp_path / "takedowns.txt"
    file.write_text(KNOWN)
    listed.write_text(f"{url(7)}\n{url(24)}\n")  # one of them stands on both lists
    before = files_of(Path(built.store.url) / "strata")
    plain, _ = make_manifest(recipe, "only", built.store, built.seal, built.strata)
    lists = Exclusions(contamination=(str(file),), takedowns=(str(listed),))
    changed = recipe.model_copy(update={"exclusions": lists})
    manifest, manifest_url = make_manifest(changed, "only", built.store, built.seal, built.strata)
    assert files_of(Path(built.store.url) / "strata") == before
    reasons = [set(ref.reasons) for ref in manifest.exclusions]
    assert {"contamination"} in reasons
    assert {"takedown"} in reasons
    assert all(ref.from_window == 0 for ref in manifest.exclusions)

    gone = where(built, {url(7), url(24)})
    taken = [
        ref for ref in manifest.exclusions if set(ref.reasons) <= {"contamination", "takedown"}
    ]
    tables = [exclusions.load(built.store, ref) for ref in taken]
    trained = gone & {doc_id for table in tables for doc_id in ids(table)}
    assert trained  # a held-out one would not be on the lists
    data = Phase(manifest_url, built.store)
    place = next(i for i, s in enumerate(manifest.strata) if s.language == "isl_Latn")
    delivered: set[str] = set()
    rows = 0
    for window in range(manifest.windows):
        plan = data.plan(window)
        mine = plan.stratum == place
        rows += int(np.count_nonzero(mine))
        for where_, document in zip(plan.shard[mine], plan.document[mine], strict=True):
            table = data._shards.tokens(int(where_)).table
            delivered.add(table["doc_id"][int(document)].as_py())
    share = manifest.strata[place]
    assert rows == share.rows
    assert not delivered & gone
    was = next(s for s in plain.strata if s.id == share.id)
    assert share.rows_available < was.rows_available
    assert verify_store(built.store).problems == ()


@pytest.mark.skipif(not SHARED_EVAL.is_dir(), reason="no evaluation files beside the checkout")
def test_real_evaluation_files_can_be_looked_for(corpus: tuple[Recipe, Built]) -> None:
    _, built = corpus
    places = [str(SHARED_EVAL / "fao_Latn" / "*"), str(SHARED_EVAL / "jpn_Jpan" / "*")]
    assert not contaminated(built.store, built.seal, catalogue_of(built.strata), places).num_rows
