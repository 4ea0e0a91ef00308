"""I2, the manifest's half: targets sum exactly, no stratum is lost, splitting changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.mixture import Part, read_by, share_out
from schemas.catalogue import SHARDS, Catalogue, Listed
from schemas.errors import UserError
from schemas.language import by_code
from schemas.ledger import Ledger
from schemas.recipe import Phase
from schemas.rows import RowCount
from schemas.stratum import HELDOUT, TRAIN, StratumName

CODES = sorted(code for code, row in by_code().items() if row.words)[:200]


def part(language: str, tokens: int, share: str = "multilingual", source: str = "fineweb2") -> Part:
    name = StratumName(source=source, language=language)
    return Part(name, share, RowCount(max(1, tokens // 400), tokens, 0))


def phase(**changes: object) -> Phase:
    settings: dict[str, object] = {
        "context": 1024,
        "mask_rate": 0.3,
        "rope_theta": 1e4,
        "languages": "fineweb2-all",
        "tau": 0.3,
        "shares": {"multilingual": 90, "dclm": 10},
        "pool_tokens": 10**9,
        "budget_tokens": 10**9,
        "learning_rate": 1e-3,
        "batch_packs": 1,
    }
    return Phase.model_validate(settings | changes)


def by_language(parts: list[Part], targets: list[int]) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for p, q in zip(parts, targets, strict=True):
        found[p.name.code] = found.get(p.name.code, 0) + q
    return found


@pytest.fixture(scope="module")
def all_languages() -> list[Part]:
    """Every natural language of the table at three tokens a word, and English from DCLM."""
    parts = [part(lang.subset, 3 * lang.words) for lang in by_code().values() if lang.words]
    return [*parts, part("eng_Latn", 10**12, "dclm", "dclm")]


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.7, 1.0])
def test_targets_of_all_languages_sum_exactly(all_languages: list[Part], tau: float) -> None:
    pool = 114_200_000_000
    targets = share_out(phase(tau=tau, pool_tokens=pool), "phases.x", all_languages)
    assert sum(targets) == pool
    assert min(targets) > 0
    assert all(q <= p.count.tokens for p, q in zip(all_languages, targets, strict=True))


def test_at_tau_0_3_the_tail_comes_out_once_in_full(all_languages: list[Part]) -> None:
    targets = share_out(phase(pool_tokens=114_200_000_000), "phases.x", all_languages)
    tail = sorted((p.count.tokens, q) for p, q in zip(all_languages, targets, strict=True))[:1500]
    assert all(q == tokens for tokens, q in tail)


def test_splitting_a_stratum_changes_no_language(all_languages: list[Part]) -> None:
    settings = phase(pool_tokens=5 * 10**9)
    whole = by_language(all_languages, share_out(settings, "phases.x", all_languages))
    split = []
    for p in all_languages:
        third = p.count.tokens // 3
        if third and p.share == "multilingual":
            split += [part(p.name.language, third, source="a")]
            split += [part(p.name.language, p.count.tokens - third, source="b")]
        else:
            split.append(p)
    assert len(split) > len(all_languages)
    assert by_language(split, share_out(settings, "phases.x", split)) == whole


def test_a_source_too_small_for_its_share_gives_the_rest_back() -> None:
    parts = [part("fao_Latn", 10**6), part("eng_Latn", 1000, "dclm", "dclm")]
    targets = share_out(phase(pool_tokens=100_000), "phases.x", parts)
    assert targets == [99_000, 1000]


@given(
    st.dictionaries(st.sampled_from(CODES), st.integers(1, 10**9), min_size=1, max_size=40),
    st.floats(0, 1),
    st.floats(0.3, 4),
    st.integers(0, 10**7),
    st.floats(0.01, 1),
    st.integers(1, 4),
)
def test_floors_and_caps_hold_and_splitting_changes_nothing(
    sizes: dict[str, int], tau: float, epochs: float, least: int, part_of: float, pieces: int
) -> None:
    """Sources and tiers are what a language is split into."""
    floors = {code: min(least, size, epochs * size) for code, size in sizes.items()}
    low, high = sum(floors.values()), sum(epochs * size for size in sizes.values())
    pool = int(low + part_of * (high - low))
    assume(pool > low)
    settings = phase(
        tau=tau, max_epochs=epochs, min_tokens=least, pool_tokens=pool, shares={"multilingual": 1}
    )
    whole = [part(f"{code}_Latn", size) for code, size in sizes.items()]
    targets = by_language(whole, share_out(settings, "phases.x", whole))
    assert sum(targets.values()) == pool
    for code, size in sizes.items():
        assert floors[code] - 1 < targets[code] < epochs * size + 1

    split = []
    for code, size in sizes.items():
        cuts = sorted({size * i // pieces for i in range(pieces + 1)})
        for number, (start, end) in enumerate(pairwise(cuts)):
            name = StratumName(source="a", language=f"{code}_Latn", tier=f"tier{number}")
            split.append(Part(name, "multilingual", RowCount(1, end - start, 0)))
    assert by_language(split, share_out(settings, "phases.x", split)) == targets


def test_floors_that_cannot_be_kept_are_refused() -> None:
    parts = [part("fao_Latn", 10**6), part("isl_Latn", 10**6)]
    settings = phase(pool_tokens=1000, min_tokens=600, shares={"multilingual": 1})
    with pytest.raises(UserError, match=r"phases\.x\.min_tokens asks for 1,200 tokens"):
        share_out(settings, "phases.x", parts)


def test_scripts_can_be_weighted_apart() -> None:
    two = [part("srp_Cyrl", 6000), part("srp_Latn", 3000), part("fao_Latn", 9000)]
    settings = phase(
        pool_tokens=6000, tau=0.0, shares={"multilingual": 1}, weight_by="subset", max_epochs=4
    )
    assert share_out(settings, "phases.x", two) == [2000, 2000, 2000]


def test_a_phase_reads_the_tiers_that_it_names() -> None:
    names = [
        StratumName(source="fineweb2", language="fao_Latn", tier=tier)
        for tier in ("high", "low", HELDOUT)
    ]
    names.append(StratumName(source="dclm", language="eng_Latn", tier=TRAIN))
    ledger = Ledger(read=1, kept=1)
    strata = tuple(Listed(str(name), name, "", 0, ledger) for name in names)
    catalogue = Catalogue(strata, SHARDS.empty_table())

    def tiers(**settings: object) -> list[str]:
        read = read_by("x", phase(languages=("fao",), **settings), catalogue)
        return [names[place].tier for place in read]

    assert tiers() == ["high", "low", TRAIN]
    assert tiers(tiers=("high",)) == ["high", TRAIN]  # a source without tiers is read whole
    assert tiers(tiers={"fineweb2": ("low",)}) == ["low", TRAIN]
    with pytest.raises(UserError, match=r"phases\.x\.tiers: there is no tier 'best'"):
        tiers(tiers=("best",))


def test_scripts_of_a_language_share_its_weight() -> None:
    one = [part("srp_Cyrl", 9000), part("fao_Latn", 9000)]
    two = [part("srp_Cyrl", 6000), part("srp_Latn", 3000), part("fao_Latn", 9000)]
    settings = phase(pool_tokens=6000, shares={"multilingual": 1})
    assert share_out(settings, "phases.x", one) == [3000, 3000]
    assert share_out(settings, "phases.x", two) == [2000, 1000, 3000]
