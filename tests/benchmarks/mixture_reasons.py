"""Why a language's published count is not the planned one: what the figures themselves can say.

In: all phases, planned and published. Out: for a phase and a language the first reason that holds.
Each is a test on published figures; only the languages that identification confuses are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Protocol

from schemas.language import table

UNSPACED = {"Jpan", "Hani", "Thai", "Khmr", "Laoo", "Mymr", "Tibt"}
CONFUSED = {"hrv", "srp", "bos"}
LONG = 1.2  # times the median
MOVED = 1.15
AGREE = 1.4


class Counts(Protocol):
    phase: str
    tau: float
    max_epochs: float
    planned: dict[str, int]
    published: dict[str, int]
    available: dict[str, int]

    def ratio(self, code: str) -> float: ...

    def outgrown(self, code: str) -> bool: ...


class Reasons:
    def __init__(self, mixtures: Sequence[Counts]) -> None:
        self._mixtures = {mixture.phase: mixture for mixture in mixtures}
        self._published = {mixture.phase: mixture.published for mixture in mixtures}
        self._scripts: dict[str, set[str]] = {}
        words: dict[str, int] = {}
        stored: dict[str, int] = {}
        for row in table():
            if row.words:
                self._scripts.setdefault(row.code, set()).add(row.script)
                words[row.code] = words.get(row.code, 0) + row.words
                stored[row.code] = stored.get(row.code, 0) + row.parquet_bytes
        first = [code for code in self._published["pretrain"] if code in words]
        usual = median(stored[code] / words[code] for code in first)
        self._length = {code: stored[code] / words[code] / usual for code in words}
        eng, every = self._published["decay-eng"], self._published["decay-all"]
        self._usual_growth = median(every[code] / eng[code] for code in first)

    def why(self, mixture: Counts, code: str) -> str:
        """One clause; "unexplained" where none of the tests holds."""
        published, available = mixture.published[code], mixture.available[code]
        ratio = mixture.ratio(code)
        if mixture.outgrown(code):
            return f"mmBERT took {published / available:,.1f} x what v2.1 holds: v2.0 had more"
        if ratio < 1 and self._exhausted(code):
            return "its v2.0 text was used up: twice as much in extend as in decay"
        if code in CONFUSED:
            return "Croatian, Serbian and Bosnian were told apart otherwise in v2.0"
        if ratio < 1 and published < available <= mixture.planned[code] / mixture.max_epochs:
            return f"comes in full: v2.0 had {published / available:.2g} x of v2.1"
        if self._scripts.get(code, set()) & UNSPACED:
            return "written without spaces: its words are a segmenter's"
        if mixture.phase == "decay-all" and self._growth(code) > MOVED and ratio > 1:
            return (
                f"{self._growth(code):.1f} x the others' step from decay-eng: something was added"
            )
        length = self._length[code]
        if (length > LONG and ratio > 1) or (length < 1 / LONG and ratio < 1):
            return f"{length:.1f} x the usual bytes a word, so 3 tokens are not its measure"
        wiki = self._wikipedia(code)
        if mixture.phase.startswith("decay") and wiki > 0.05 and ratio > 1:
            return f"Wikipedia, here without sizes, is {100 * wiki:.0f} % of its decay-eng"
        size, elsewhere = self._sizes(mixture, code)
        if elsewhere and 1 / AGREE < size / elsewhere < AGREE:
            return (
                f"as if it had {size:.2g} x of v2.1; {self._other(mixture)} says {elsewhere:.2g} x"
            )
        if len(self._scripts.get(code, ())) > 1:
            return "several scripts, taken together here"
        return "unexplained"

    def _other(self, mixture: Counts) -> str:
        return "decay-eng" if mixture.phase == "extend" else "extend"

    def _sizes(self, mixture: Counts, code: str) -> tuple[float, float]:
        """What size, beside that of v2.1, the count would be right for, here and in another phase.

        By the rule a count goes with size ** tau; the caps are left out.
        """
        other = self._mixtures[self._other(mixture)]
        there = code in other.published and code in other.planned
        return (
            mixture.ratio(code) ** (1 / mixture.tau),
            other.ratio(code) ** (1 / other.tau) if there else 0.0,
        )

    def _exhausted(self, code: str) -> bool:
        once = self._published["decay-eng"].get(code, 0)
        return bool(once) and abs(self._published["extend"][code] / once - 2) < 0.05

    def _growth(self, code: str) -> float:
        once = self._published["decay-eng"].get(code, 0)
        every = self._published["decay-all"][code]
        return every / once / self._usual_growth if once else 1.0

    def _wikipedia(self, code: str) -> float:
        """Decay-Cont has it once more than Decay-Eng and is the same otherwise."""
        once = self._published["decay-eng"].get(code, 0)
        return (self._published["decay-cont"][code] - once) / once if once else 0.0
