"""Training: from manifests to weights, phase by phase.

    for each phase of the run:
        load where it starts from: its own last checkpoint, else the end of the phase before it,
        else the model that the run starts from, or random weights;
        then set the phase's hyper-parameters (moments and the optimiser's step go on)
        for each global batch of B packs and N targets:
            rank r of W takes every W-th pack; each pack, or part of it where the memory of a
            device wants that, is a micro-batch with
                loss = W x sum(cross-entropy) / N
            whose gradients DDP averages over the ranks: the mean over all N targets, exactly, at
            any W, with no all-reduce but that of the gradients
            one step of StableAdamW at the learning rate of the clock
        a checkpoint, and the model as a `transformers` directory
    after the last of all phases: the model that the run releases, merged of theirs

B, the learning rate, scores and snapshots follow the clock of the data, and the dropout of a pack
is keyed by its place: the state is (window, pack), and resuming is exact (I3). What a step
says (loss, norm, wishes to stop or save) is read one step late, so that no device ever waits.

Run as `python -m trainer RUN.json`, or on N ranks as `torchrun --nproc-per-node N -m trainer
RUN.json`. All that it writes lies beside run.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import Tensor

from schemas.keyed import key64, keyed
from schemas.recipe import RELEASE
from schemas.run import RunPhase
from schemas.segments import begun, require_sealed
from trainer import checkpoint, micro_batch
from trainer.checkpoint import Point
from trainer.distributed import no_sync
from trainer.failure import defuse
from trainer.heldout import is_due, num_evaluations
from trainer.learner import Learner, begin
from trainer.micro_batch import MicroBatch
from trainer.optimiser import set_lr
from trainer.phase import Batch, Phase, State
from trainer.release import release
from trainer.results import export, score, snapshot
from trainer.schedule import batch_schedule, learning_rate
from trainer.session import Session
from trainer.step_log import StepLog

T = TypeVar("T")

DROPOUT = key64("dropout")


def train(session: Session, phases: tuple[RunPhase, ...]) -> str:
    """Train what is not finished of `phases`, in order; returns where the run stands, in words.

    Where `phases` are all phases of the run, its model is released after them, if its recipe says
    how: phases that are trained one by one release nothing, and a call for all of them then does.
    """
    for phase in phases:
        if not session.model_folder(phase.name).exists():
            point = train_phase(session, phase)
            if not point.end:
                return f"stopped at {point.name}, run the same command to go on"
    finished = [phase.name for phase in phases]
    if session.run.release and phases == session.run.phases:
        release(session, session.run.release)
        finished.append(RELEASE)
    return f"finished {', '.join(finished)}: {session.folder / 'models'}"


def train_phase(session: Session, phase: RunPhase) -> Point:
    """Train a phase from where it stands to its end, or until a signal; returns where it stands."""
    data = Phase(session.store.resolve(phase.current), session.store)
    if saved := checkpoint.newest(session.checkpoints, phase.name):
        require_sealed(session.store, data.line, saved)
    budget = data.manifest.budget_tokens
    learner, point = begin(session, phase)
    steps = StepLog(session, data, point)
    num_scores = num_evaluations(budget, session.text.num_tokens())
    planned = -1  # the last window whose plan the ranks have compared

    for batch in batches(session, phase, data, point):
        planned = compare_plans(session, data, batch, point, planned)
        lr = rate_at(phase, batch.clock_tokens, budget)
        set_lr(learner.optimiser, lr)
        figures = train_step(session, phase, data, learner, batch)
        point = advance(point, batch, data)
        wish = steps.put(point, batch, lr, figures)
        passed = batch.clock_tokens / budget, point.clock_tokens / budget
        if is_due(num_scores, *passed):
            steps.flush()
            score(session, learner.model, learner.theta, point)
            steps.pause()
        if is_due(phase.settings.snapshots, *passed) and not point.end:
            steps.flush()
            snapshot(session, learner.model, learner.theta, point)
            steps.pause()
        if wish.stop or wish.save:
            steps.flush()
            save(session, learner, point)
            steps.pause()
        if wish.stop and not point.end:
            return point
    steps.flush()
    save(session, learner, point)
    export(session, learner.model, learner.theta, point)
    return point


def batches(session: Session, phase: RunPhase, data: Phase, point: Point) -> Iterator[Batch]:
    """This rank's parts of the global batches from a point on."""
    return data.batches(
        session.ranks.rank,
        session.ranks.world,
        State(point.window, point.pack),
        batch_schedule(phase.settings),
    )


def rate_at(phase: RunPhase, clock_tokens: float, budget_tokens: int) -> float:
    s = phase.settings
    return learning_rate(
        clock_tokens,
        budget_tokens,
        s.learning_rate,
        s.warmup_tokens,
        s.schedule,
        s.decay_tokens or budget_tokens,
        s.floor,
    )


def compare_plans(session: Session, data: Phase, batch: Batch, point: Point, known: int) -> int:
    """Let the ranks compare their plans of the windows that a batch is the first to touch.

    `known` is the last window they have compared; returns what it is now.
    """
    last = batch.after.window if batch.after.pack else batch.after.window - 1
    for window in range(max(known + 1, batch.first.window), last + 1):
        plan = data.plan(window)
        digest, tokens = plan.digest(), int(plan.pack_lengths.sum())
        session.ranks.wait()  # another host may still fetch the shards of this window
        session.ranks.require_equal(digest, f"the plan of window {window} of phase {point.phase}")
        session.journal.open_window(
            point.phase, window, point.step + 1, plan.num_packs, tokens, digest
        )
    return last


def train_step(
    session: Session, phase: RunPhase, data: Phase, learner: Learner, batch: Batch
) -> Tensor:
    """One optimiser step on a global batch; returns its figures, float64 [4], as StepLog reads."""
    ranks = session.ranks
    nats = torch.zeros((), dtype=torch.float64, device=ranks.device)
    for (inputs, key), last in with_last(micro_batches(session, data, batch)):
        with nullcontext() if last else no_sync(learner.parallel):
            with session.autocast():
                loss = learner.parallel(*inputs, learner.theta, key)
            (loss * (ranks.world / batch.num_targets)).backward()
        nats += loss.detach()
    norm = defuse(learner.model)
    learner.optimiser.step()
    learner.optimiser.zero_grad()
    summed = ranks.sum(torch.cat([nats[None], session.wishes.tensor()]))
    return torch.cat([summed, norm[None].double()])


def micro_batches(
    session: Session, data: Phase, batch: Batch
) -> Iterator[tuple[MicroBatch, int | None]]:
    """This rank's micro-batches of a step, each with the key of its dropout.

    A pack that is cut has a key for each part: what is dropped depends on the cut, not on the rank.
    """
    context, device = data.manifest.context, session.ranks.device
    for pack in batch.packs:
        if pack is None:
            yield micro_batch.empty(data.special, context, device), None
            continue
        masked = data.mask(pack)
        key = keyed(session.run.seed, DROPOUT, data.key, pack.window, pack.index)
        for pieces in micro_batch.cut(pack, session.micro_batch_tokens):
            part_key = keyed(key, pieces[0]) if pieces[0] else key
            yield micro_batch.of_pack(pack, masked, context, device, pieces), part_key


def with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Each item, and whether it is the last; the next one is made before an item is given."""
    ahead = iter(items)
    item = next(ahead)
    for following in ahead:
        yield item, False
        item = following
    yield item, True


def advance(point: Point, batch: Batch, data: Phase) -> Point:
    """Where the run stands after a step."""
    point = point.model_copy(
        update={
            "step": point.step + 1,
            "window": batch.after.window,
            "pack": batch.after.pack,
            "tokens": point.tokens + batch.tokens,
            "clock_tokens": data.clock(batch.after),
            "end": batch.after.window == data.windows,
        }
    )
    # A segment that has planned nothing yet may still be replaced.
    brought = begun(data.line, point.next_window)[-1]
    return point.model_copy(update={"manifest": brought.id})


def save(session: Session, learner: Learner, point: Point) -> None:
    ranks, model, optimiser = session.ranks, learner.model, learner.optimiser
    checkpoint.save(session.checkpoints, ranks, model, optimiser, point)
    session.wishes.saved()
