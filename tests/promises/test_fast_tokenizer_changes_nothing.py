"""I7, of the extra `fast`: a build has the same bytes whichever engine tokenised it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines import prove
from pipelines.encode import Ids
from pipelines.prove import load_proofs
from schemas.seal import seal_folder
from tests import corpora
from tests.building import Built, build_store, files_of


def build(root: Path, folder: Path) -> tuple[Built, dict[str, str]]:
    built = build_store(corpora.recipe(root), folder)
    files = {n: d for n, d in files_of(folder).items() if "/proofs/" not in n}
    return built, files


def test_strata_are_the_same_with_and_without_the_fast_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gigatoken")
    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 60, "isl_Latn": 40})
    fast, with_it = build(root, tmp_path / "fast")
    proofs = load_proofs(seal_folder(fast.store.url, fast.seal.digest))
    assert {language for proof in proofs for language in proof.languages} >= {
        "fao_Latn",
        "isl_Latn",
        "eng_Latn",
    }
    assert not [c for p in proofs for c in p.languages.values() if c.differs]

    monkeypatch.setattr(prove, "find_fast", lambda _: None)
    slow, without = build(root, tmp_path / "slow")
    assert not load_proofs(seal_folder(slow.store.url, slow.seal.digest))
    assert with_it == without


def test_an_engine_that_errs_changes_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Erring:
        engine = "erring 1.0"

        def encode(self, texts: list[str]) -> list[Ids]:
            return [np.full(3, 7, np.uint32) for _ in texts]

    root = corpora.write_corpus(tmp_path / "raw", {"fao_Latn": 40})
    monkeypatch.setattr(prove, "find_fast", lambda _: Erring())
    erring, with_it = build(root, tmp_path / "erring")
    proofs = load_proofs(seal_folder(erring.store.url, erring.seal.digest))
    assert all(c.differs for p in proofs for c in p.languages.values())

    monkeypatch.setattr(prove, "find_fast", lambda _: None)
    _, without = build(root, tmp_path / "slow")
    assert with_it == without
