"""The plan of a sample: which languages, how many documents of each, how many bytes.

    bytes(l) = max(floor(l), c * utf8_bytes(l) ^ 0.5),   c such that they sum to FineWeb2's part

Sizes are as uneven as real ones, only less so. English comes from DCLM and Dolmino, as in mmBERT;
code comes beside all languages. Languages are taken in this order:

    1          English
    4          the largest written language of each phase of entry, so that even a small sample has
               every phase; then the other written ones, largest first
    to 1,833   invented stand-ins for the other codes of mmBERT, each in its largest script; last
               those that FineWeb2 no longer lists, which have no size and no script in its table
    to 1,946   further scripts of a language, languages that mmBERT never had, and text in no known
               language (`und`)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.sample.passages import written_languages
from schemas.errors import UserError
from schemas.language import NOT_NATURAL, Language, by_code, by_subset, table

ENGLISH = "eng_Latn"
FINEWEB2_PART, DCLM_PART, DOLMINO_PART = 0.60, 0.25, 0.15
CODE_PART = 0.03  # on top of the others
MEAN_BYTES = 1400
"""The mean size of a document where there is room for it."""
LEAST_DOCUMENTS = 3
"""To train on, of any language however small the sample: noise may hide one."""

_POWER = 0.5
_TEST_PART = 0.1
_UNLISTED_SCRIPTS = {"kex": "Deva"}
"""Codes that FineWeb2 no longer lists are written in Latin letters here, but for these."""


@dataclass(frozen=True)
class Share:
    """What a FineWeb2 language gets: training and test documents, and their mean size."""

    language: Language
    num_train: int
    num_test: int
    mean_bytes: float


def chosen_languages(count: int) -> tuple[Language, ...]:
    """The first `count` languages of a sample, English among them; each has a subset.

    Raises UserError for a count below 2 or above that of the table.
    """
    ordered = _all_languages()
    if not 2 <= count <= len(ordered):
        raise UserError(
            f"a sample cannot have {count} languages: choose from 2 (English and one more) "
            f"to {len(ordered)} with --languages"
        )
    return ordered[:count]


def _all_languages() -> tuple[Language, ...]:
    rows = [row for row in by_subset().values() if row.utf8_bytes > 0]
    rows.sort(key=lambda row: (-row.utf8_bytes, row.subset))
    written = [row for row in rows if row.subset in written_languages()]
    leads = [
        next(row for row in written if row.phase == phase)
        for phase in ("pretrain", "extend", "decay-all")
    ]
    covered = {row.code for row in written}
    others = [row for row in rows if row.phase and by_code()[row.code] == row]
    others = [row for row in others if row.code not in covered]
    unlisted = [_placed(row) for row in table() if not row.subset]
    named = [row for row in rows if row.code not in NOT_NATURAL]
    english = by_subset()[ENGLISH]
    return tuple(dict.fromkeys([english, *leads, *written, *others, *unlisted, *named, *rows]))


def _placed(row: Language) -> Language:
    """A row without a subset, as the subset that it would be."""
    script = _UNLISTED_SCRIPTS.get(row.code, "Latn")
    return replace(row, subset=f"{row.code}_{script}", script=script)


def plan_fineweb2(languages: tuple[Language, ...], num_bytes: float) -> list[Share]:
    """Share `num_bytes` among the languages other than English, in the order given.

    In a sample too small for its floors they take half of it, with fewer documents, but no language
    has less than LEAST_DOCUMENTS: a sample of many languages is as large as they need.
    """
    rows = [row for row in languages if row.subset != ENGLISH]
    floors = [_floor_documents(row) * _floor_mean_bytes(row) for row in rows]
    shrink = min(1.0, 0.5 * num_bytes / sum(floors))
    least = [max(LEAST_DOCUMENTS, round(shrink * _floor_documents(row))) for row in rows]
    floors = [count * _floor_mean_bytes(row) for row, count in zip(rows, least, strict=True)]
    sizes = fill_above([row.utf8_bytes**_POWER for row in rows], floors, num_bytes)
    return [_share(*planned) for planned in zip(rows, least, sizes, strict=True)]


def fill_above(weights: list[float], floors: Sequence[float], total: float) -> list[float]:
    """Sizes in proportion to `weights`, none below its floor, that sum to `total`, or to more where
    the floors do.
    """
    if sum(floors) >= total:
        return list(floors)
    on_floor: set[int] = set()
    while True:
        free = total - sum(floors[i] for i in on_floor)
        scale = free / sum(w for i, w in enumerate(weights) if i not in on_floor)
        sunk = {i for i, w in enumerate(weights) if i not in on_floor and w * scale < floors[i]}
        if not sunk:
            return [floors[i] if i in on_floor else w * scale for i, w in enumerate(weights)]
        on_floor |= sunk


def _share(row: Language, least_train: int, num_bytes: float) -> Share:
    num_train = max(least_train, round(num_bytes * (1 - _TEST_PART) / MEAN_BYTES))
    least_test = 8 if row.subset in written_languages() else 1  # enough for a held-out figure
    num_test = max(least_test, round(num_train * _TEST_PART)) if _has_test_split(row) else 0
    return Share(row, num_train, num_test, num_bytes / (num_train + num_test))


def _has_test_split(row: Language) -> bool:
    """FineWeb2 holds test documents out where a language has enough of them."""
    return row.documents >= 1000


def _floor_documents(row: Language) -> int:
    if row.subset in written_languages():
        return 40
    return 12 if _has_test_split(row) else LEAST_DOCUMENTS


def _floor_mean_bytes(row: Language) -> int:
    return 600 if row.subset in written_languages() else 300
