"""When a run sees a document: every delivery of it, past and to come, by arithmetic.

    where      the ids and URLs of the run's shards are looked through; where the name begins with
               `source:`, of each stratum of that source one shard alone (schemas/doc_names.py)
    which      the spans of its shard say which rows of the stratum they are (trainer/spans.py)
    when       row i is delivered in the window w with C(w) <= i < C(w + 1), found by bisection
    what       these windows are planned, which gives pack and place; a row that an exclusion has
               left out by then is in no plan

No window is planned but those that hold the document. Their steps are exact up to the last window
that was begun, and estimated after it, since the packs of the windows between are not known.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.arrow import numbers
from schemas.doc_names import can_hold, documents_named
from schemas.manifest import load_shards
from schemas.progress import Progress, silent
from schemas.rows import I64
from schemas.stratum import load as load_stratum
from trainer.open_rows import DOCUMENT, LENGTH, START
from trainer.order import Schedule, id64
from trainer.phase import Phase
from trainer.steps import State
from trainer.timeline import Timeline

Fate = Literal["seen", "planned", "left out"]
Standing = Literal["delivered", "not drawn", "excluded", "absent"]


@dataclass(frozen=True)
class Document:
    """A document of the run's shards."""

    doc_id: str
    url: str
    source: str
    language: str
    tier: str
    shard: str  # digest
    document: int  # its place in the shard
    num_tokens: int


@dataclass(frozen=True)
class Sighting:
    """One delivery of a piece of a document: tokens [start, start + length) of it."""

    epoch: int  # of its stratum, from 0
    window: int
    start: int
    length: int
    fate: Fate = "left out"  # by an exclusion that holds from its window or an earlier one
    pack: int | None = None  # None where it is left out, as are the next two
    place: int | None = None
    step: int | None = None
    exact: bool = True  # the step


@dataclass(frozen=True)
class PhaseSightings:
    """A document in one phase.

    not drawn: the quota of its stratum is less than an epoch, and ends before it; excluded: from
    the phase's start; absent: no shard of the phase has it.
    """

    phase: str
    standing: Standing
    sightings: tuple[Sighting, ...] = ()


def find(timeline: Timeline, name: str, progress: Progress = silent) -> tuple[list[Document], int]:
    """The documents of a run with an id or a URL, and the number of shards looked through."""
    wanted = pa.array([name], pa.large_string())
    found: list[Document] = []
    looked: set[int] = set()
    for phase in timeline.phases:
        data, strata = timeline.data(phase), _stratum_of_shard(timeline, phase)
        indices = _candidates(data, strata, name)
        for number, index in enumerate(indices):
            digest = int(data.shards.digests[index])
            if digest in looked:
                continue
            looked.add(digest)
            progress(f"shards of {phase}", number, len(indices))
            if data.shards.are_remote:
                data.shards.expect([index], indices[number + 1 : number + 3])
            table = data.shards.documents(index)
            stratum = data.manifest.strata[strata[index]]
            for document in documents_named(table, wanted):
                row = table.slice(document, 1).select(["doc_id", "url", "tokens"])
                found.append(
                    Document(
                        doc_id=row["doc_id"][0].as_py(),
                        url=row["url"][0].as_py(),
                        source=stratum.source,
                        language=stratum.language,
                        tier=stratum.tier,
                        shard=f"{digest:016x}",
                        document=document,
                        num_tokens=len(row["tokens"][0]),
                    )
                )
    return found, len(looked)


def _candidates(data: Phase, strata: NDArray[np.int32], name: str) -> list[int]:
    """The shards of a phase that can hold a document of this name."""
    source = name.partition(":")[0]
    mine = np.array([stratum.source == source for stratum in data.manifest.strata])
    if not mine.any():
        return list(range(strata.size))
    several = np.flatnonzero(mine & (np.bincount(strata, minlength=mine.size) > 1)).tolist()
    seeds = {stratum: _seed(data, stratum) for stratum in several}
    return [
        index
        for index in np.flatnonzero(mine[strata]).tolist()
        if (seed := seeds.get(int(strata[index]))) is None
        or can_hold(data.shards.url(index), seed, name)
    ]


def _seed(data: Phase, stratum: int) -> int | None:
    """That of the keys of a stratum's documents; an imported one has its own, not the phase's."""
    found = load_stratum(data.store.resolve(data.manifest.strata[stratum].folder))
    seed = found.made_from.get("seed") if found else None
    return seed if isinstance(seed, int) else None


def trace_document(
    timeline: Timeline, document: Document, progress: Progress = silent
) -> list[PhaseSightings]:
    """What each phase of a run makes of a document; `timeline` is one that estimates."""
    return [_in_phase(timeline, phase, document, progress) for phase in timeline.phases]


class _Order:
    """The order of a phase, to be asked where the rows of a document go."""

    def __init__(self, timeline: Timeline, phase: str) -> None:
        self._data = data = timeline.data(phase)
        self._strata = _stratum_of_shard(timeline, phase)
        self._quotas: I64 = np.array([stratum.rows for stratum in data.manifest.strata], np.int64)
        self._schedule = Schedule.of(*data.line)

    def has_rows(self, index: int, document: int) -> bool:
        """Whether a document is not excluded from the start."""
        num_rows = self._data.shards.num_rows[index]
        (table,) = self._data.rows.of(*(np.array([n]) for n in (index, 0, 0, num_rows)))
        return bool((table[DOCUMENT] == document).any())

    def rows(self, index: int, document: int) -> Iterator[tuple[int, Sighting]]:
        """The rows of a document that the quota of its stratum covers: number, and when."""
        stratum = int(self._strata[index])
        quota = np.zeros_like(self._quotas)
        quota[stratum] = self._quotas[stratum]
        found = self._data.planner.spans(np.zeros_like(quota), quota)
        for at in np.flatnonzero(found.shard == index).tolist():
            epoch, one = int(found.epoch[at]), slice(at, at + 1)
            columns = (found.shard, found.epoch, found.first, found.last)
            (part,) = self._data.rows.of(*(column[one] for column in columns))
            for place in np.flatnonzero(part[DOCUMENT] == document).tolist():
                number = int(found.row[at]) + place
                start, length = int(part[START, place]), int(part[LENGTH, place])
                yield number, Sighting(epoch, self._window(stratum, number), start, length)

    def _window(self, stratum: int, number: int) -> int:
        """The window that delivers a row of a stratum."""
        windows = range(self._data.windows + 1)
        delivered = self._schedule.delivered
        return bisect_right(windows, number, key=lambda w: int(delivered(w)[stratum])) - 1


def _stratum_of_shard(timeline: Timeline, phase: str) -> NDArray[np.int32]:
    table = load_shards(timeline.store.resolve(timeline.phases[phase].current))
    return numbers(table.column("stratum"))


def _in_phase(
    timeline: Timeline, phase: str, document: Document, progress: Progress
) -> PhaseSightings:
    digests = timeline.data(phase).shards.digests
    held = np.flatnonzero(digests == np.uint64(id64(document.shard)))
    if not held.size:
        return PhaseSightings(phase, "absent")
    index, order = int(held[0]), _Order(timeline, phase)
    if not order.has_rows(index, document.document):
        return PhaseSightings(phase, "excluded")
    rows = list(order.rows(index, document.document))
    found: list[Sighting] = []
    for done, (number, sighting) in enumerate(rows):
        progress(f"windows of {phase}", done, len(rows))
        plan = timeline.plan(phase, sighting.window)
        at = np.flatnonzero((plan.row == number) & (plan.shard == index))
        if at.size:
            pack, place = int(plan.pack[at[0]]), int(plan.place[at[0]])
            sighting = replace(sighting, pack=pack, place=place, fate="planned")
        found.append(sighting)
    standing: Standing = "delivered" if found else "not drawn"
    return PhaseSightings(phase, standing, tuple(_with_steps(timeline, phase, found)))


def _with_steps(timeline: Timeline, phase: str, found: list[Sighting]) -> Iterator[Sighting]:
    """The sightings of a phase in the order of its steps, with these."""
    last_begun = max(timeline.begun(phase), default=-1)
    walked, number, step = timeline.walk(phase), 0, None
    for sighting in sorted(found, key=lambda s: (s.window, -1 if s.pack is None else s.pack)):
        if sighting.pack is None:
            yield sighting
            continue
        place = State(sighting.window, sighting.pack)
        if (mark := timeline.mark(phase, place)) and mark[0] > number:
            walked = timeline.walk(phase, place)
        while step is None or (sighting.window, sighting.pack) not in step:
            number, step = next(walked)
        exact = sighting.window <= last_begun
        seen = exact and timeline.is_done(phase, number)
        yield replace(sighting, step=number, exact=exact, fate="seen" if seen else "planned")
