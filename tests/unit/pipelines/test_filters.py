"""Filters drop what they name, repair what they can, and leave clean text of any script alone."""

from __future__ import annotations

import pytest

from pipelines.filters import screen
from pipelines.record import Record
from schemas.text import Filters

CLEAN = {
    "eng_Latn": "The harbour was quiet in the morning, and the boats lay still until high tide.",
    "fao_Latn": "Havnin var still um morgunin, og bátarnir lógu kvirrir, til flóðin kom inn aftur.",
    "rus_Cyrl": "Утром в гавани было тихо, и лодки стояли неподвижно, пока не начался прилив.",
    "arb_Arab": "كان الميناء هادئا في الصباح، وبقيت القوارب ساكنة حتى ارتفع المد من جديد.",
    "hin_Deva": "सुबह बंदरगाह शांत था, और ज्वार के फिर से चढ़ने तक नावें चुपचाप खड़ी रहीं, हवा भी नहीं थी।",
    "tha_Thai": "ท่าเรือเงียบสงบในตอนเช้า และเรือจอดนิ่งอยู่จนกระทั่งน้ำขึ้นอีกครั้งก่อนเที่ยงวันของวันนั้น",
    "cmn_Hani": "清晨的港口十分安静，船只静静地停泊着，直到潮水再次上涨。" * 3,
    "jpn_Jpan": "朝の港は静かで、船は潮が再び満ちるまでじっと動かずに停まっていた。" * 3,
    "kor_Hang": "아침의 항구는 조용했고, 배들은 밀물이 다시 들어올 때까지 가만히 정박해 있었다. "
    * 2,
    "amh_Ethi": "ወደቡ ጠዋት ላይ ጸጥ ያለ ነበር፤ ጀልባዎቹም ማዕበሉ እንደገና እስኪነሳ ድረስ ሳይንቀሳቀሱ ቆሙ። " * 2,
}


def screened(text: str, label: str = "eng_Latn", **found: float) -> Record:
    record = Record(0, text, **found)  # type: ignore[arg-type]
    screen(record, Filters(), label, None)
    return record


@pytest.mark.parametrize("label", CLEAN)
def test_clean_text_is_kept_to_the_byte(label: str) -> None:
    record = screened(CLEAN[label], label)
    assert (record.reason, record.repaired, record.text) == (None, False, CLEAN[label])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Too short.", "too_short"),
        (CLEAN["rus_Cyrl"], "wrong_script"),
        ("=" * 80, "no_letters"),
        ("a " + "$%&/ " * 30, "symbols"),
        ("Share on the web\n" * 9 + CLEAN["eng_Latn"], "repeated_lines"),
        (CLEAN["eng_Latn"].replace(" ", "\x08\u200b", 6), "control_characters"),
        (CLEAN["eng_Latn"].replace("a", "\ufffd"), "mojibake"),
    ],
)
def test_noise_is_dropped_with_its_reason(text: str, reason: str) -> None:
    assert screened(text).reason == reason


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_misread_encoding_is_repaired(encoding: str) -> None:
    text = CLEAN["fao_Latn"]
    record = screened(text.encode().decode(encoding), "fao_Latn")
    assert (record.reason, record.repaired, record.text) == (None, True, text)


def test_scores_drop_what_lies_below() -> None:
    assert screened(CLEAN["eng_Latn"], language_score=0.1).reason == "low_language_score"
    record = Record(0, CLEAN["eng_Latn"], quality_score=0.01)
    screen(record, Filters(), "eng_Latn", min_score=0.02)
    assert record.reason == "low_quality_score"


def test_the_recipe_says_which_filters_run() -> None:
    record = Record(0, "short")
    screen(record, Filters(use=("script",)), "eng_Latn", None)
    assert record.reason is None
