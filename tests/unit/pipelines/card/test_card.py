"""A data card says what the manifest and the ledgers say, for 1, 3 and 1,833 languages."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flows.cli import main
from pipelines.card import PAGE, figure, markdown, page, percent, strata_of, write_card
from pipelines.card.facts import facts_of
from pipelines.manifests import make_manifest
from schemas.language import members
from schemas.ledger import Ledger
from schemas.manifest import Absence, LanguageShare, Manifest
from tests import corpora
from tests.building import Built, build_store, files_of


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, Manifest, str]:
    folder = tmp_path_factory.mktemp("card")
    root = corpora.write_corpus(folder / "raw", {"fao_Latn": 60, "isl_Latn": 40, "rus_Cyrl": 30})
    corpora.write_dclm(root / "dclm", [corpora.dclm_line("short", "x")], "shard_1.jsonl.zst")
    recipe = corpora.recipe(root)
    built = build_store(recipe, folder / "store")
    return built, *make_manifest(recipe, "only", built.store, built.seal, built.strata)


def test_it_says_what_manifest_and_ledgers_say(built: tuple[Built, Manifest, str]) -> None:
    store, manifest = built[0].store, built[1]
    facts = facts_of(manifest, strata_of(store, manifest))
    assert facts.missing == 0
    assert facts.total.read == facts.total.kept + facts.total.num_dropped == manifest.ledger.read
    assert facts.total.dropped == manifest.ledger.dropped
    assert facts.total.dropped["too_short"] == 1
    assert sum(s.tally.kept for s in facts.sources) == facts.total.kept
    assert sum(script.tokens for script in facts.scripts) == facts.total.tokens
    text = markdown(facts)
    for language in manifest.languages:
        assert f"| {language.language} |" in text
    assert "| too_short | 1 |" in text
    assert text.count("| unknown | unknown |") == len(facts.sources)  # the recipe says neither
    assert "## Absent languages" in text


def test_tables_of_the_markdown_have_as_many_cells_as_columns(
    built: tuple[Built, Manifest, str],
) -> None:
    facts = facts_of(built[1], strata_of(built[0].store, built[1]))
    for table in re.findall(r"(?:^\|.*\n)+", markdown(facts), flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_the_page_is_whole_and_asks_nothing_of_the_network(
    built: tuple[Built, Manifest, str],
) -> None:
    facts = facts_of(built[1], strata_of(built[0].store, built[1]))
    other = built[1].model_copy(update={"phase": "other"})
    html = page(facts, [other])
    assert html.count("<svg") == 2
    assert html.count("<circle") == 2 * len(facts.languages)
    assert ">other</text>" in html
    assert not re.search(r'(src|href)="?http|@import|url\(', html)
    HTMLParser().feed(html)


def test_a_card_changes_no_manifest(built: tuple[Built, Manifest, str]) -> None:
    found, manifest, url = built
    folder = Path(url).parent
    before = files_of(folder)
    strata = strata_of(found.store, manifest)
    assert write_card(url, manifest, strata) == str(folder / PAGE)
    first = files_of(folder)
    write_card(url, manifest, strata)
    assert files_of(folder) == first
    assert {name: first[name] for name in before if not name.startswith("card")} == {
        name: digest for name, digest in before.items() if not name.startswith("card")
    }


def test_the_command_takes_what_names_a_manifest(
    built: tuple[Built, Manifest, str], capsys: pytest.CaptureFixture[str]
) -> None:
    card = Path(built[2]).with_name(PAGE)
    for reference in ("test/only", built[1].id[:8], built[2]):
        card.unlink(missing_ok=True)
        assert main(["card", reference, "--store", built[0].store.url]) == 0
        assert card.is_file()
    assert main(["card", "test/nothing", "--store", built[0].store.url]) == 2
    assert "no manifest test/nothing" in capsys.readouterr().err


def test_every_language_has_its_row_and_its_dot(built: tuple[Built, Manifest, str]) -> None:
    codes = sorted(members("fineweb2-all"))
    shares = tuple(
        LanguageShare(
            language=code,
            tokens_available=10 * rank,
            weight=1 / len(codes),
            target_tokens=rank,
            rows=1,
            tokens=rank,
            tokens_standard_error=0,
            epochs=0.1,
        )
        for rank, code in enumerate(codes, 1)
    )
    reason = "no source <has> it"
    absent = (Absence(language="zzz", reason=reason),)
    update = {"languages": shares, "strata": (), "absent": absent, "ledger": Ledger(read=0, kept=0)}
    facts = facts_of(built[1].model_copy(update=update), {})
    html = page(facts, [])
    assert html.count("<circle") == 2 * len(codes)
    assert "&lt;has&gt;" in html
    text = markdown(facts)
    assert all(f"| {code} |" in text for code in codes)


def test_the_cap_is_that_of_the_whole_budget(built: tuple[Built, Manifest, str]) -> None:
    pool = built[1].pool_tokens
    thrice = {"max_epochs": 2.0, "budget_tokens": 3 * pool}  # the pool is read three times
    facts = facts_of(built[1].model_copy(update=thrice), {})
    assert "lets a language have: 6." in page(facts, [])


def test_strata_that_are_gone_are_told(built: tuple[Built, Manifest, str]) -> None:
    facts = facts_of(built[1], {})
    assert facts.missing == len(built[1].strata)
    assert "were not found" in markdown(facts)
    assert "were not found" in page(facts, [])


def test_figures_are_never_powers_of_ten() -> None:
    assert [percent(share) for share in (0, 0.41, 0.000123, 1)] == [
        "0 %",
        "41 %",
        "0.012 %",
        "100 %",
    ]
    assert [figure(v) for v in (None, 0.000012345, 2.5, 1234567.0)] == [
        "",
        "0.0000123",
        "2.5",
        "1,234,567",
    ]
