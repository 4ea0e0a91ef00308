"""I11: a new mixture rewrites no token; a new language builds its own strata and no others."""

from __future__ import annotations

from pathlib import Path

from pipelines.manifests import make_manifest
from schemas.exclusions import load as load_exclusions
from tests import corpora
from tests.building import build_store, files_of


def test_a_second_build_builds_nothing(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30})
    first = build_store(corpora.recipe(root), tmp_path / "store")
    second = build_store(corpora.recipe(root), tmp_path / "store")
    assert (first.num_new, second.num_new) == (3, 0)
    assert {s.id for s in first.strata} == {s.id for s in second.strata}


def test_a_new_mixture_touches_no_token(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30, "isl_Latn": 60})
    built = build_store(corpora.recipe(root), tmp_path / "store")
    before = files_of(tmp_path / "store" / "strata")
    ids = set()
    for tau in (0.7, 0.3, 0.0):
        flatter = corpora.recipe(root, tau=tau)
        manifest, _ = make_manifest(flatter, "only", built.store, built.seal, built.strata)
        ids.add(manifest.id)
    assert len(ids) == 3
    assert files_of(tmp_path / "store" / "strata") == before


def test_a_new_language_builds_its_own_strata_only(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30})
    recipe = corpora.recipe(root)
    built = build_store(recipe, tmp_path / "store")
    sealed = recipe.model_copy(
        update={
            "tokenizer": recipe.tokenizer.model_copy(
                update={
                    "train": None,
                    "path": str(tmp_path / "store" / "tokenizers" / built.seal.digest[:16]),
                }
            )
        }
    )
    corpora.write_fineweb2(root / "fineweb2", "isl_Latn", corpora.sentences("isl", 40))
    again = build_store(sealed, tmp_path / "store")
    assert again.num_new == 1
    assert {str(s.name) for s in again.strata} - {str(s.name) for s in built.strata} == {
        "fineweb2/isl_Latn/all",
        "fineweb2/isl_Latn/heldout",
    }


def test_text_of_two_sources_is_excluded_not_rewritten(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30})
    shared = corpora.sentences("english", 60)[:5]
    corpora.write_dolmino(root / "dolmino", "math", [*corpora.sentences("math", 30), *shared])
    recipe = corpora.recipe(root)
    built = build_store(recipe, tmp_path / "store")
    math = built.stratum("dolmino/math/eng_Latn/all")
    manifest, _ = make_manifest(recipe, "only", built.store, built.seal, built.strata)
    (listed,) = manifest.exclusions
    rows = load_exclusions(built.store, listed).to_pylist()
    assert {row["doc_id"].split(":")[0] for row in rows} <= {"dolmino/math", "dclm"}
    assert listed.documents == 5
    share = next(s for s in manifest.strata if s.source == "dolmino/math")
    gone = sum(1 for row in rows if row["doc_id"].startswith("dolmino/math"))
    assert share.rows_available < math.rows(128).rows
    assert gone >= 4  # one of the five may be held out in dolmino and stay there


def test_a_new_file_costs_that_file_and_one_gather(tmp_path: Path) -> None:
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 30, "isl_Latn": 40})
    recipe = corpora.recipe(root)
    built = build_store(recipe, tmp_path / "store")
    folder = tmp_path / "store" / "tokenizers" / built.seal.digest[:16]
    fixed = recipe.tokenizer.model_copy(update={"train": None, "path": str(folder)})
    recipe = recipe.model_copy(update={"tokenizer": fixed})
    before = set((tmp_path / "store" / "spills").glob("*/spill.json"))
    corpora.write_fineweb2(root / "fineweb2", "isl_Latn", corpora.sentences("new", 9), name="001")
    again = build_store(recipe, tmp_path / "store")
    assert again.num_new == 1
    assert len(set((tmp_path / "store" / "spills").glob("*/spill.json")) - before) == 1
    assert again.stratum("fineweb2/isl_Latn/all").ledger.read == 36 + 9
