"""The filters: each returns the reason to drop a document, or None to keep it.

In: a `Record` with text. Out: a reason; `mojibake` may also repair the record's text. The recipe
names which run, in which order, and from which value each drops. Shares are of characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import ftfy
import numpy as np

from pipelines.characters import CONTROL, LEAD, SYMBOL, TRAIL, classes, count, of_scripts
from pipelines.identify import LanguageProfile
from pipelines.record import Record
from schemas.text import FilterName, Filters

SAMPLE = 4_000  # characters that the share of scripts and symbols is measured on

_SCRIPTS = {  # labels that are not one Unicode script
    "Jpan": ("Hira", "Kana", "Hani"),
    "Hang": ("Hang", "Hani"),
    "Kore": ("Hang", "Hani"),
    "Hani": ("Hani", "Bopo"),
    "Hans": ("Hani",),
    "Hant": ("Hani",),
}
# Scripts that texts write with characters of others, or that are not scripts of letters.
_UNCHECKED = frozenset({"Zyyy", "Zxxx", "Brai", "Sgnw"})


def length(record: Record, filters: Filters) -> str | None:
    return "too_short" if len(record.text or "") < filters.min_characters else None


def mojibake(record: Record, filters: Filters) -> str | None:
    """Repair text whose encoding was misread; drop it when too much stays broken.

    Only the encoding: width, quotes, ligatures and normal forms are left alone.
    """
    text = record.text or ""
    broken = _num_broken(text)
    if not broken:
        return None
    fixed = ftfy.fix_encoding(text)
    if fixed != text:
        record.text, record.repaired = fixed, True
        broken = _num_broken(fixed)
    return "mojibake" if broken > filters.max_mojibake_share * len(fixed) else None


def _num_broken(text: str) -> int:
    """Characters that no encoding had, and pairs that look like UTF-8 read as another encoding."""
    if text.isascii():
        return 0
    found = classes(text)
    lead = np.flatnonzero(found[:-1] & LEAD)
    return text.count("\ufffd") + count(found[lead + 1], TRAIL)


def control_characters(record: Record, filters: Filters) -> str | None:
    found = classes(record.text or "")
    high = count(found, CONTROL) > filters.max_control_share * found.size
    return "control_characters" if high else None


def script(record: Record, filters: Filters, label: str) -> str | None:
    """The letters must be of the script that the language label names (`fao_Latn`)."""
    name = label.split("_")[1]
    if name in _UNCHECKED:
        return None
    try:
        own, letters = of_scripts(record.text or "", _SCRIPTS.get(name, (name,)), SAMPLE)
    except LookupError:
        return None  # a script that this version of Unicode does not know
    if not letters:
        return "no_letters"
    return "wrong_script" if own < filters.min_script_share * letters else None


def language_score(record: Record, filters: Filters) -> str | None:
    score = record.language_score
    low = score is not None and score < filters.min_language_score
    return "low_language_score" if low else None


def symbols(record: Record, filters: Filters) -> str | None:
    found = classes(record.text or "")[:SAMPLE]
    high = count(found, SYMBOL) > filters.max_symbol_share * found.size
    return "symbols" if high else None


def repeated_lines(record: Record, filters: Filters) -> str | None:
    """Characters in lines that stood before in the document (as in Gopher, Rae et al. 2021)."""
    lines = [line for line in map(str.strip, (record.text or "").split("\n")) if line]
    counted = Counter(lines)
    if len(lines) < 3 or len(counted) == len(lines):
        return None
    repeated = sum((n - 1) * len(line) for line, n in counted.items() if n > 1)
    total = sum(map(len, lines))
    return "repeated_lines" if repeated > filters.max_repeated_line_share * total else None


_BY_NAME: dict[FilterName, Callable[[Record, Filters], str | None]] = {
    "length": length,
    "mojibake": mojibake,
    "control_characters": control_characters,
    "language_score": language_score,
    "symbols": symbols,
    "repeated_lines": repeated_lines,
}


def language(record: Record, filters: Filters, profile: LanguageProfile) -> str | None:
    """The text must be in the language of most of its file (pipelines/identify.py)."""
    far = profile.distance(record.number, record.text or "")
    return "wrong_language" if far is not None and far > filters.max_language_distance else None


def screen(
    record: Record,
    filters: Filters,
    label: str,
    min_score: float | None,
    profile: LanguageProfile | None = None,
) -> None:
    """Run the filters in the recipe's order; the first reason stays on the record.

    `near_duplicate` needs all documents of an origin at once: the decide step runs it.
    """
    if record.reason is not None:
        return
    quality = record.quality_score
    if min_score is not None and (quality is None or quality < min_score):
        record.reason = "no_quality_score" if quality is None else "low_quality_score"
        return
    for name in filters.use:
        if name == "script":
            record.reason = script(record, filters, label)
        elif name == "language":
            record.reason = language(record, filters, profile) if profile else None
        elif name != "near_duplicate":
            record.reason = _BY_NAME[name](record, filters)
        if record.reason is not None:
            return
