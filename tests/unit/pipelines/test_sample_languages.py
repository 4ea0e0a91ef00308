"""Which languages a sample has, how much of each, and the sentences that it writes them in."""

import tomllib
import unicodedata
from collections import Counter

import pytest

from pipelines.sample.documents import SHORTEST, write_texts, writer_of
from pipelines.sample.draws import Draws
from pipelines.sample.passages import FOLDER, parse, passages_of, written_languages
from pipelines.sample.plan import LEAST_DOCUMENTS, chosen_languages, fill_above, plan_fineweb2
from schemas.errors import UserError
from schemas.language import by_subset, entry_phase, members, table


def test_a_sample_of_four_languages_has_every_phase_of_entry() -> None:
    assert [entry_phase(row.code) for row in chosen_languages(4)] == [
        "pretrain",
        "pretrain",
        "extend",
        "decay-all",
    ]
    default = chosen_languages(24)
    assert len({row.script for row in default}) >= 12
    assert all(row.subset in written_languages() for row in default)


def test_every_subset_of_the_table_can_write() -> None:
    for subset, row in by_subset().items():
        if row.utf8_bytes == 0:
            continue
        text = writer_of(subset).paragraph(Draws(0, subset), 3)
        assert any(unicodedata.category(c)[0] in "LS" for c in text)
    assert writer_of("aai_Latn") != writer_of("aak_Latn")


def test_more_languages_leave_the_text_of_others_alone() -> None:
    first = chosen_languages(40)
    assert first[:30] == chosen_languages(30)


def test_1833_languages_are_those_of_mmbert_and_1946_are_all_there_are() -> None:
    named = {code for code in members("fineweb2-all") - {"code"} if entry_phase(code)}
    assert {row.code for row in chosen_languages(1833)} == named
    everything = chosen_languages(1946)
    subsets = {row.subset for row in everything}
    assert len(subsets) == len(everything)
    assert subsets >= {row.subset for row in table() if row.utf8_bytes}
    assert {row.code for row in everything} >= members("fineweb2-all") - {"code"}
    with pytest.raises(UserError):
        chosen_languages(1947)


def test_languages_that_fineweb2_dropped_are_written_in_a_plausible_script() -> None:
    subsets = {row.code: row.subset for row in chosen_languages(1833)}
    assert (subsets["awi"], subsets["kex"]) == ("awi_Latn", "kex_Deva")


def test_no_language_is_left_without_text_however_small_the_sample() -> None:
    shares = plan_fineweb2(chosen_languages(1833), 1e6)
    assert min(share.num_train for share in shares) == LEAST_DOCUMENTS
    assert len(shares) == 1832


@pytest.mark.parametrize("subset", ["awi_Latn", "sin_Sinh", "jpn_Jpan", "hye_Armn"])
def test_clean_documents_are_never_too_short(subset: str) -> None:
    assert all(
        len(text) >= SHORTEST for text in write_texts(writer_of(subset), Draws(subset), 50, 60)
    )


def test_a_floor_is_kept_and_the_total_too() -> None:
    sizes = fill_above([1.0, 10.0, 100.0], [20.0, 20.0, 20.0], 200.0)
    assert sizes == pytest.approx([20.0, 20.0, 160.0])
    assert fill_above([1.0, 2.0], [20.0, 20.0], 30.0) == [20.0, 20.0]


@pytest.mark.parametrize("name", [*written_languages(), "dolmino"])
def test_every_passage_fills_and_stays_in_its_script(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    passages = parse(text)
    known = {slot: "" for group in passages.slots for slot in group.names}
    for group in passages.slots:
        assert len(group.fillings) >= 4, group.names
        assert all(len(filling) == len(group.names) for filling in group.fillings), group.names
        assert len(set(group.fillings)) == len(group.fillings), group.names
    sentences = [sentence for topic in passages.topics.values() for sentence in topic]
    assert len(sentences) >= 35
    assert not any(double > 2 for double in Counter(sentences).values())
    used = {slot for slot in known if any("{" + slot + "}" in sentence for sentence in sentences)}
    assert used == set(known), "a slot that no sentence uses"
    for sentence in sentences:
        sentence.format_map(known)
    assert text == unicodedata.normalize("NFC", text)


def test_the_probes_are_answered_by_the_passages() -> None:
    probes = tomllib.loads((FOLDER.parent / "probes.toml").read_text(encoding="utf-8"))["probe"]
    assert len(probes) >= 3
    for probe in probes:
        assert probe["text"].count("<mask>") == 1
        sentence = probe["text"].replace("<mask>", probe["answer"])
        draws = Draws("probe", sentence)
        passages = passages_of(probe["language"])
        assert any(sentence in passages.paragraph(draws, 9) for _ in range(20_000)), sentence
