"""The table holds mmBERT's published languages, and its sets have the published sizes."""

import pytest

from schemas.errors import UserError
from schemas.language import (
    NOT_NATURAL,
    by_code,
    by_subset,
    entry_phase,
    members,
    split_subset,
    table,
)


def test_the_sets_have_their_published_sizes() -> None:
    assert len(members("pretrain-60")) == 60
    assert len(members("extend-110")) == 110
    trained = {row.code for row in table() if row.phase} - NOT_NATURAL
    assert len(trained) == 1833


def test_a_later_set_contains_the_earlier_ones() -> None:
    assert members("pretrain-60") < members("extend-110") < members("fineweb2-all")
    assert {"eng", "rus", "swh"} <= members("pretrain-60")
    assert "code" not in members("pretrain-60")
    assert {"eng", "code", "isl", "amh"} <= members("extend-110")
    assert {"fao", "tir", "hau"} <= members("fineweb2-all")
    assert "und" not in members("fineweb2-all")


def test_languages_enter_where_mmbert_had_them_enter() -> None:
    phases = {
        code: entry_phase(code) for code in ("eng", "code", "isl", "amh", "fao", "tir", "hau")
    }
    assert phases == {
        "eng": "pretrain",
        "code": "pretrain",
        "isl": "extend",
        "amh": "extend",
        "fao": "decay-all",
        "tir": "decay-all",
        "hau": "",
    }
    assert entry_phase("qqq") == ""


def test_every_fineweb2_subset_is_one_row() -> None:
    subsets = [row.subset for row in table() if row.subset]
    assert len(subsets) == len(set(subsets)) == len(by_subset()) == 1913 + 2
    for row in by_subset().values():
        assert split_subset(row.subset) == (row.code, row.script)
        assert row.name
    unlisted = [row for row in table() if not row.subset]
    assert len(unlisted) == 32
    assert all(row.phase == "decay-all" and row.utf8_bytes == 0 for row in unlisted)


def test_the_largest_subset_stands_for_its_code() -> None:
    assert by_code()["srp"].subset == "srp_Cyrl"
    assert by_code()["fao"].name == "Faroese"
    assert by_code()["fao"].utf8_bytes == 591504161


def test_an_unknown_set_names_the_closest() -> None:
    with pytest.raises(UserError, match="did you mean 'pretrain-60'"):
        members("pretrain60")


@pytest.mark.parametrize(
    "subset", ["", "fao", "fao_latn", "fao-Latn", "FAO_Latn", "fao_Latn2", "fao_Latn\n"]
)
def test_a_malformed_subset_is_refused(subset: str) -> None:
    with pytest.raises(UserError, match="fao_Latn"):
        split_subset(subset)
