"""The plan of a sample: which languages, how many documents of each, how many bytes.

    bytes(l) = max(floor(l), c * utf8_bytes(l) ^ 0.5),   c such that they sum to FineWeb2's part

Sizes are as uneven as real ones, only less so. English comes from DCLM and Dolmino, as in mmBERT.
Languages are taken in this order: English; the largest written language of each later phase of
entry, so that even a small sample has every phase; the other written ones, largest first; then
invented stand-ins for the table's other languages, and last for text in no known language (`und`).
"""

from dataclasses import dataclass

from pipelines.sample.passages import written_languages
from schemas.errors import UserError
from schemas.language import NOT_NATURAL, Language, by_subset

ENGLISH = "eng_Latn"
FINEWEB2_PART, DCLM_PART, DOLMINO_PART = 0.60, 0.25, 0.15
MEAN_BYTES = 1400
"""The mean size of a document where there is room for it."""

_POWER = 0.5
_TEST_PART = 0.1


@dataclass(frozen=True)
class Share:
    """What a FineWeb2 language gets: training and test documents, and their mean size."""

    language: Language
    num_train: int
    num_test: int
    mean_bytes: float


def chosen_languages(count: int) -> tuple[Language, ...]:
    """The first `count` languages of a sample, English among them.

    Raises UserError for a count below 2 or above that of the table.
    """
    rows = [row for row in by_subset().values() if row.utf8_bytes > 0]
    if not 2 <= count <= len(rows) + 1:
        raise UserError(
            f"a sample cannot have {count} languages: choose from 2 (English and one more) "
            f"to {len(rows) + 1} with --languages"
        )
    rows.sort(key=lambda row: (-row.utf8_bytes, row.subset))
    written = [row for row in rows if row.subset in written_languages()]
    leads = [
        next(row for row in written if row.phase == phase)
        for phase in ("pretrain", "extend", "decay-all")
    ]
    named = [row for row in rows if row.code not in NOT_NATURAL]
    ordered = dict.fromkeys([by_subset()[ENGLISH], *leads, *written, *named, *rows])
    return tuple(ordered)[:count]


def plan_fineweb2(languages: tuple[Language, ...], num_bytes: float) -> list[Share]:
    """Share `num_bytes` among the languages other than English, in the order given."""
    rows = [row for row in languages if row.subset != ENGLISH]
    floors = [_floor_documents(row) * _floor_mean_bytes(row) for row in rows]
    # in a sample too small for its floors they take no more than half of it
    shrink = min(1.0, 0.5 * num_bytes / sum(floors))
    weights = [row.utf8_bytes**_POWER for row in rows]
    sizes = fill_above(weights, [floor * shrink for floor in floors], num_bytes)
    return [_share(row, size) for row, size in zip(rows, sizes, strict=True)]


def fill_above(weights: list[float], floors: list[float], total: float) -> list[float]:
    """Sizes in proportion to `weights`, none below its floor, that sum to `total`."""
    on_floor: set[int] = set()
    while True:
        free = total - sum(floors[i] for i in on_floor)
        scale = free / sum(w for i, w in enumerate(weights) if i not in on_floor)
        sunk = {i for i, w in enumerate(weights) if i not in on_floor and w * scale < floors[i]}
        if not sunk:
            return [floors[i] if i in on_floor else w * scale for i, w in enumerate(weights)]
        on_floor |= sunk


def _share(row: Language, num_bytes: float) -> Share:
    num_train = max(_floor_documents(row), round(num_bytes * (1 - _TEST_PART) / MEAN_BYTES))
    least = 8 if row.subset in written_languages() else 1  # enough for a held-out figure
    num_test = max(least, round(num_train * _TEST_PART)) if _has_test_split(row) else 0
    return Share(row, num_train, num_test, num_bytes / (num_train + num_test))


def _has_test_split(row: Language) -> bool:
    """FineWeb2 holds test documents out where a language has enough of them."""
    return row.documents >= 1000


def _floor_documents(row: Language) -> int:
    if row.subset in written_languages():
        return 40
    return 12 if _has_test_split(row) else 3


def _floor_mean_bytes(row: Language) -> int:
    return 600 if row.subset in written_languages() else 160
