"""I2, the manifest's half: targets sum exactly, no stratum is lost, splitting changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pipelines.mixture import Part, share_out
from schemas.language import by_code
from schemas.recipe import Phase
from schemas.rows import RowCount
from schemas.stratum import StratumName


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


def test_scripts_of_a_language_share_its_weight() -> None:
    one = [part("srp_Cyrl", 9000), part("fao_Latn", 9000)]
    two = [part("srp_Cyrl", 6000), part("srp_Latn", 3000), part("fao_Latn", 9000)]
    settings = phase(pool_tokens=6000, shares={"multilingual": 1})
    assert share_out(settings, "phases.x", one) == [3000, 3000]
    assert share_out(settings, "phases.x", two) == [2000, 1000, 3000]
