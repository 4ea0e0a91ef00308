"""The fast engine works only where its ids were compared with the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipelines.encode import Ids, Truth
from pipelines.prove import EVERY, FIRST, Proving, UnequalIds, load_proofs, save_proof, told
from pipelines.tokenizer import from_sentencepiece
from schemas.seal import SpecialIds
from tests import corpora, pieces

TEXTS = corpora.sentences("fao", 2 * EVERY)


@pytest.fixture(scope="module")
def truth() -> Truth:
    model = pieces.train(corpora.sentences("fao", 200))
    return Truth(from_sentencepiece(model, SpecialIds()).to_str().encode())


class Other:
    """An engine that errs on some texts, and counts what it is given."""

    def __init__(self, truth: Truth, wrong: Sequence[str] = ()) -> None:
        self.truth, self.wrong, self.num_given = truth, set(wrong), 0

    @property
    def engine(self) -> str:
        return "other 1.0"

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        self.num_given += len(texts)
        ids = self.truth.encode(texts)
        return [i + np.uint32(t in self.wrong) for t, i in zip(texts, ids, strict=True)]


def as_lists(ids: Sequence[Ids]) -> list[list[int]]:
    return [i.tolist() for i in ids]


def test_an_equal_engine_works_and_the_sample_is_noted(truth: Truth) -> None:
    proving = Proving(truth, Other(truth))
    assert as_lists(proving.encode(TEXTS, "a", "fao_Latn")) == as_lists(truth.encode(TEXTS))
    proof = proving.proof
    assert proof is not None
    sample = [i for i in range(len(TEXTS)) if i < FIRST or i % EVERY == 0]
    compared = proof.languages["fao_Latn"]
    assert compared.documents == len(sample)
    assert compared.num_bytes == sum(len(TEXTS[i].encode()) for i in sample)
    assert compared.differs is None


@pytest.mark.parametrize("place", [0, FIRST - 1])
def test_a_difference_in_the_sample_leaves_the_language_to_the_truth(
    truth: Truth, place: int
) -> None:
    other = Other(truth, [TEXTS[place]])
    proving = Proving(truth, other)
    parts = [TEXTS[:10], TEXTS[10:40], TEXTS[40:60]]
    found = [ids for part in parts for ids in proving.encode(part, "a", "fao_Latn")]
    assert as_lists(found) == as_lists(truth.encode(TEXTS[:60]))
    assert other.num_given < 60
    proof = proving.proof
    assert proof is not None
    assert proof.languages["fao_Latn"].differs == "a"
    assert any("fao_Latn" in line and "in a;" in line for line in told([proof]))


def test_the_next_language_is_proved_again(truth: Truth) -> None:
    proving = Proving(truth, Other(truth, [TEXTS[0], TEXTS[45]]))
    proving.encode(TEXTS[:40], "a", "fao_Latn")
    found = proving.encode(TEXTS[40:60], "b", "isl_Latn")
    assert as_lists(found) == as_lists(truth.encode(TEXTS[40:60]))
    proof = proving.proof
    assert proof is not None
    assert proof.languages["isl_Latn"].differs == "b"


def test_a_language_is_proved_once(truth: Truth) -> None:
    first = Proving(truth, Other(truth))
    first.encode(TEXTS[:FIRST], "a", "fao_Latn")
    proof = first.proof
    assert proof is not None
    for proofs in ([proof], [proof.model_copy(update={"engine": "other 0.9"})]):
        proving = Proving(truth, Other(truth), proofs)
        proving.encode(TEXTS[:40], "b", "fao_Latn")
        assert (proving.proof is None) == (proofs == [proof])


def test_a_late_difference_stops_the_build(truth: Truth) -> None:
    proving = Proving(truth, Other(truth, [TEXTS[EVERY]]))
    with pytest.raises(UnequalIds, match=f"of a, though {FIRST} texts of fao_Latn"):
        proving.encode(TEXTS, "a", "fao_Latn")


def test_without_a_fast_engine_there_is_nothing_to_prove(truth: Truth, tmp_path: Path) -> None:
    proving = Proving(truth, None)
    assert as_lists(proving.encode(TEXTS[:5], "a", "x")) == as_lists(truth.encode(TEXTS[:5]))
    save_proof(str(tmp_path), proving.proof)
    assert load_proofs(str(tmp_path)) == []
    assert told([]) == []


def test_proofs_are_read_back(truth: Truth, tmp_path: Path) -> None:
    proving = Proving(truth, Other(truth))
    proving.encode(TEXTS[:40], "a", "fao_Latn")
    for _ in range(2):  # the same proof again is the same file
        save_proof(str(tmp_path), proving.proof)
    assert load_proofs(str(tmp_path)) == [proving.proof]
    assert told([proving.proof]) == [  # type: ignore[list-item]
        f"other 1.0 did the work of {truth.engine}: equal ids on 32 documents in 1 languages"
    ]
