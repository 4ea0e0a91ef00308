"""The language table: one row a FineWeb2 subset, with the phase in which mmBERT first saw it.

In: `languages.csv` beside this file (sizes of FineWeb2 v2.1's training splits, and whether mmBERT's
published token counts have the ISO 639-3 code in pretraining, in extension, or only in the last
decay). Out: `table()`, indexed by subset (`fao_Latn`) or by code (`fao`), and the named sets that
recipes use. Three kinds of rows need a word: `eng` and `code` come from other sources and have
no size here; 32 codes that FineWeb2 no longer lists have neither subset nor size; `und` (text in no
known language) is a subset but a member of no set.
"""

import csv
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from schemas.errors import UserError

NOT_NATURAL = frozenset({"code", "und"})

_SUBSET = re.compile(r"([a-z]{3}|code)_([A-Z][a-z]{3})")


@dataclass(frozen=True)
class Language:
    """One row of the table; sizes are those of FineWeb2 v2.1, 0 where it has none."""

    subset: str
    code: str
    script: str
    name: str
    family: str
    words: int
    documents: int
    utf8_bytes: int
    parquet_bytes: int
    phase: str
    """pretrain, extend or decay-all; empty for codes that mmBERT never had."""


@lru_cache(maxsize=1)
def table() -> tuple[Language, ...]:
    """Every row, ordered by code and subset."""
    with (Path(__file__).parent / "languages.csv").open(encoding="utf-8", newline="") as lines:
        return tuple(
            Language(
                subset=row["subset"],
                code=row["code"],
                script=row["script"],
                name=row["name"],
                family=row["family"],
                words=int(row["words"]),
                documents=int(row["documents"]),
                utf8_bytes=int(row["utf8_bytes"]),
                parquet_bytes=int(row["parquet_bytes"]),
                phase=row["phase"],
            )
            for row in csv.DictReader(lines)
        )


@lru_cache(maxsize=1)
def by_subset() -> dict[str, Language]:
    """The rows that are subsets, by `lang_Script`."""
    return {row.subset: row for row in table() if row.subset}


@lru_cache(maxsize=1)
def by_code() -> dict[str, Language]:
    """One row for each ISO 639-3 code: its largest subset stands for it."""
    rows: dict[str, Language] = {}
    for row in table():
        if row.code not in rows or row.utf8_bytes > rows[row.code].utf8_bytes:
            rows[row.code] = row
    return rows


@lru_cache(maxsize=1)
def _sets() -> dict[str, frozenset[str]]:
    phases = {code: row.phase for code, row in by_code().items()}
    natural = {code for code in phases if code not in NOT_NATURAL}
    return {
        "pretrain-60": frozenset(code for code in natural if phases[code] == "pretrain"),
        "extend-110": frozenset(
            code for code, phase in phases.items() if phase in ("pretrain", "extend")
        ),
        "decay-1833": frozenset(code for code in natural if phases[code]) | {"code"},
        "fineweb2-all": frozenset(natural | {"code"}),
    }


def members(set_name: str) -> frozenset[str]:
    """The ISO 639-3 codes of a named set.

    `pretrain-60`: English and 59 others. `extend-110`: English, 108 others and code.
    `decay-1833`: every natural language that mmBERT had, and code.
    `fineweb2-all`: every natural language of the table, and code.

    Raises UserError for any other name.
    """
    sets = _sets()
    if set_name not in sets:
        closest = get_close_matches(set_name, sets, n=1, cutoff=0.0)[0]
        raise UserError(
            f"there is no language set '{set_name}': the sets are {', '.join(sets)}; "
            f"did you mean '{closest}'?"
        )
    return sets[set_name]


def entry_phase(code: str) -> str:
    """The phase in which mmBERT first saw this ISO 639-3 code; empty if it never did."""
    row = by_code().get(code)
    return row.phase if row else ""


def language_name(code: str) -> str:
    """Its English name, or the code where the table has none."""
    row = by_code().get(code)
    return row.name.split(" (")[0] if row and row.name else code


@lru_cache(maxsize=256)
def written_in(script: str) -> frozenset[str]:
    """The codes of all languages that the table has in an ISO 15924 script."""
    return frozenset(row.code for row in table() if row.script == script) - NOT_NATURAL


def is_subset(name: str) -> bool:
    """Whether a name is written as FineWeb2 writes languages: `fao_Latn`, and `code_Zyyy`."""
    return _SUBSET.fullmatch(name) is not None


def split_subset(subset: str) -> tuple[str, str]:
    """`fao_Latn` -> (`fao`, `Latn`).

    Raises UserError where the name is not an ISO 639-3 code, an underscore and an ISO 15924 script.
    """
    match = _SUBSET.fullmatch(subset)
    if match is None:
        raise UserError(
            f"'{subset}' is not a language as FineWeb2 writes it: give the three-letter ISO 639-3 "
            "code, an underscore and the four-letter script, as in fao_Latn"
        )
    return match[1], match[2]
