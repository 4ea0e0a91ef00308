"""What a source is taken to hold: by its files, or by what is published of it."""

from __future__ import annotations

from flows.supply import MANY, TOKENS_PER_BYTE, measured, published
from pipelines.inventory import ImportedStratum, InputFile, Origin
from schemas.language import by_subset
from schemas.text import Source


def test_files_are_measured_without_their_held_out_text() -> None:
    files = (
        InputFile("/a", "a", 1000, "train"),
        InputFile("/b", "b", 500, "test"),
    )
    (supply,) = measured([Origin("fineweb2", "fao_Latn", files)])
    assert supply.tokens == 1000 * TOKENS_PER_BYTE
    assert supply.num_bytes == 1500
    assert not supply.published


def test_imported_strata_hold_what_they_say() -> None:
    strata = (
        ImportedStratum("/train", "all", "t", 4000),
        ImportedStratum("/heldout", "heldout", "t", 90),
    )
    (supply,) = measured([Origin("mds", "fao_Latn", (), strata)])
    assert (supply.tokens, supply.num_bytes) == (4000, 0)


def test_fineweb2_is_three_tokens_a_published_word() -> None:
    source = Source(path="hf://datasets/x/data", format="fineweb2")
    supplies = {supply.language: supply for supply in published("fineweb2", source)}
    assert set(supplies) == {subset for subset, row in by_subset().items() if row.words}
    assert supplies["fao_Latn"].tokens == 3 * by_subset()["fao_Latn"].words
    assert supplies["fao_Latn"].published


def test_others_are_what_the_recipe_says() -> None:
    dclm = Source(path="d", format="dclm", published_tokens=4000)
    dolmino = Source(path="d", format="dolmino", published_tokens={"math": 10, "flan": 20})
    code = Source(path="d", format="documents", language="code_Zyyy", published_tokens=7)
    wiki = Source(path="d", format="documents", published_tokens=9)
    by_language = Source(path="d", format="documents", published_tokens={"fao_Latn": 5})
    found = [
        (supply.source, supply.language, supply.tokens)
        for name, source in {
            "dclm": dclm,
            "dolmino": dolmino,
            "code": code,
            "wiki": wiki,
            "more": by_language,
        }.items()
        for supply in published(name, source)
    ]
    assert found == [
        ("dclm", "eng_Latn", 4000),
        ("dolmino/math", "eng_Latn", 10),
        ("dolmino/flan", "eng_Latn", 20),
        ("code", "code_Zyyy", 7),
        ("wiki", MANY, 9),
        ("more", "fao_Latn", 5),
    ]
