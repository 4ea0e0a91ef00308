"""Of equal texts in several sources one is trained on; none where one of them is held out."""

from __future__ import annotations

import pytest

from pipelines.duplicates import CROSS_SOURCE, IN_HELDOUT, duplicates, find_groups
from schemas.catalogue import Catalogue, catalogue_of
from tests import corpora
from tests.building import Built, build_store

SHARED = corpora.sentences("isl_Latn", 6)
SOURCES = ["fineweb2", "dclm", "dolmino"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("duplicates")
    root = corpora.write_corpus(folder / "raw", {"fao_Latn": 30})
    fineweb2 = root / "fineweb2"
    corpora.write_fineweb2(fineweb2, "isl_Latn", [*SHARED, *corpora.sentences("isl", 9)])
    corpora.write_fineweb2(fineweb2, "isl_Latn", SHARED[4:5], split="test")
    other = [*SHARED[:2], SHARED[4], *corpora.sentences("dan", 9)]
    corpora.write_fineweb2(fineweb2, "dan_Latn", other)
    lines = [corpora.dclm_line(text, f"shared-{n}") for n, text in enumerate(SHARED[1:3])]
    corpora.write_dclm(root / "dclm", lines, "more.jsonl.zst")
    return build_store(corpora.recipe(root), folder / "store")


def listed(catalogue: Catalogue, built: Built, read: set[str]) -> dict[str, str]:
    """Reason by document, of a phase that reads these strata."""
    table = duplicates(find_groups(built.store, catalogue, SOURCES), read)
    return dict(zip(*(table.column(n).to_pylist() for n in ("doc_id", "reason")), strict=True))


def test_one_of_equal_texts_stays(built: Built) -> None:
    catalogue = catalogue_of(built.strata)
    found = listed(catalogue, built, {stratum.id for stratum in built.strata})
    # Of two FineWeb2 languages the smaller key stays; FineWeb2 goes before DCLM.
    lost = [name for name, reason in found.items() if reason == CROSS_SOURCE]
    assert sorted(name for name in lost if name.startswith("dclm:")) == [
        "dclm:<urn:shared-0>",
        "dclm:<urn:shared-1>",
    ]
    assert len([name for name in lost if name.startswith("fineweb2:")]) == 2


def test_text_that_is_held_out_anywhere_is_trained_on_nowhere(built: Built) -> None:
    catalogue = catalogue_of(built.strata)
    danish = {s.id for s in built.strata if s.name.language == "dan_Latn"}
    found = listed(catalogue, built, danish)  # it does not read the text that holds it out
    assert found == {"fineweb2:<urn:dan_Latn:train:000_00000:2>": IN_HELDOUT}


def test_a_phase_that_reads_one_of_two_keeps_it(built: Built) -> None:
    dclm = {s.id for s in built.strata if s.name.source == "dclm"}
    assert listed(catalogue_of(built.strata), built, dclm) == {}
