"""What one step of a run sees: its documents, computed and never recorded.

In: a run, past or to come (trainer/timeline.py). Out: the pieces of documents in the packs of the
step, in their order. Of W ranks, rank r takes the packs r, r + W, ... of the step.

A step of the past costs the plans of the windows that it takes packs of; their digests must be
those that the journal has. A step to come costs those of all windows between, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.errors import UserError
from trainer.plan import WindowPlan
from trainer.steps import Step
from trainer.timeline import Timeline


@dataclass(frozen=True)
class TracedPiece:
    """Tokens [start, start + length) of a document, at a place of a pack."""

    window: int
    pack: int
    place: int
    rank: int
    doc_id: str
    url: str
    source: str
    language: str
    tier: str
    shard: str  # digest
    document: int  # its place in the shard
    start: int
    length: int  # BOS and EOS not counted


@dataclass(frozen=True)
class TracedStep:
    """A global batch, or one rank's part of it."""

    phase: str
    step: int
    done: bool
    clock_tokens: float  # at its start
    num_packs: int  # of the global batch
    rank: int | None  # None: all of them
    world: int
    pieces: tuple[TracedPiece, ...]


def phase_of(timeline: Timeline, step: int, phase: str | None) -> str:
    """The phase that a step lies in: the one that is named, or the only one that can have it.

    Raises UserError where there is none, or where several have a step of this number.
    """
    run = timeline.folder.name
    if phase is not None and phase not in timeline.phases:
        raise UserError(f"run {run} has no phase {phase!r}: {', '.join(timeline.phases)}")
    if phase is not None:
        return phase
    meant = []
    for name, described in timeline.phases.items():
        past, after = timeline.past.get(name), described.settings.after
        begins = past or after is None or (after in timeline.past and timeline.past[after].ended)
        ends = past.last if past and past.ended else step
        if begins and timeline.before(name) < step <= ends:
            meant.append(name)
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise UserError(
            f"{', '.join(meant)} of run {run} have a step {step:,}: choose with --phase"
        )
    raise UserError(
        f"no phase of run {run} that has begun, or could begin now, has a step {step:,}: name one "
        f"to come with --phase ({', '.join(timeline.phases)})"
    )


def trace_step(
    timeline: Timeline, phase: str, step: int, rank: int | None = None, world: int | None = None
) -> TracedStep:
    """The documents of a step, counted as in the log; of one rank where `rank` says so.

    `world` is the number of ranks, by default that of the run at this step. Raises UserError where
    the phase has no such step or the world no such rank.
    """
    world = world or timeline.num_ranks(phase, step)
    if rank is not None and not 0 <= rank < world:
        raise UserError(f"--rank {rank}: of {world} ranks the last is {world - 1}; set --world")
    last = timeline.before(phase)
    for last, found in timeline.walk(phase, step):
        if last == step:
            pieces = tuple(_pieces(timeline, phase, found, rank, world))
            done, num_packs = timeline.is_done(phase, step), len(found.packs)
            clock = found.clock_tokens
            return TracedStep(phase, step, done, clock, num_packs, rank, world, pieces)
        if last > step:
            break
    raise UserError(
        f"{phase} of run {timeline.folder.name} has no step {step:,}: it begins with "
        f"{timeline.before(phase) + 1:,}" + (f" and ends with {last:,}" if last < step else "")
    )


def _pieces(
    timeline: Timeline, phase: str, step: Step, rank: int | None, world: int
) -> Iterator[TracedPiece]:
    plans = {window: timeline.plan(phase, window) for window, _, _ in step.spans}
    for number, (window, pack) in enumerate(step.packs):
        if rank in (None, number % world):
            yield from _pieces_of(timeline, phase, plans[window], pack, number % world)


def _pieces_of(
    timeline: Timeline, phase: str, plan: WindowPlan, pack: int, rank: int
) -> Iterator[TracedPiece]:
    data = timeline.data(phase)
    first, last = plan.bounds[pack : pack + 2].tolist()
    for place, row in enumerate(range(first, last)):
        index, document = int(plan.shard[row]), int(plan.document[row])
        table = data.shards.documents(index)
        stratum = data.manifest.strata[int(plan.stratum[row])]
        yield TracedPiece(
            window=plan.window,
            pack=pack,
            place=place,
            rank=rank,
            doc_id=table.column("doc_id")[document].as_py(),
            url=table.column("url")[document].as_py(),
            source=stratum.source,
            language=stratum.language,
            tier=stratum.tier,
            shard=f"{int(plan.digests[index]):016x}",
            document=document,
            start=int(plan.start[row]),
            length=int(plan.length[row]),
        )
