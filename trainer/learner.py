"""What learns in a phase: model and optimiser, where they start from, and what becomes of them.

A phase builds its model anew and loads into it, whether the phase before ended a second or a month
ago: going on and resuming are one path, so their results are equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from schemas.digest import Json
from schemas.errors import UserError
from schemas.recipe import MAX_POSITION, UNTRAINED
from schemas.run import Run, RunPhase
from schemas.seal import Seal
from trainer import checkpoint
from trainer.checkpoint import Point
from trainer.heldout import evaluate
from trainer.initialise import build
from trainer.model import ModelConfig, ModernBert
from trainer.optimiser import build_optimiser, enter_phase
from trainer.session import Session


@dataclass(frozen=True)
class Learner:
    """`model` holds the weights; `parallel` is it, with gradients averaged over the ranks."""

    model: ModernBert
    parallel: nn.Module
    optimiser: Optimizer
    theta: float


def begin(session: Session, phase: RunPhase) -> tuple[Learner, Point]:
    """The learner where `phase` stands: at its last checkpoint, or at its start.

    A phase starts with the weights and moments at the end of `after`, else with new weights, which
    are scored and exported as the untrained twin. Raises UserError when `after` has not ended.
    """
    settings, folder = phase.settings, session.checkpoints
    model = build(model_config(session.run, session.sealed), session.run.seed, session.ranks.device)
    optimiser = build_optimiser(model, settings.learning_rate, settings.weight_decay)
    learner = Learner(model, session.ranks.wrap(model), optimiser, settings.rope_theta)

    own = checkpoint.newest(folder, phase.name)
    source = own or _end_of(session, phase)
    if source:
        checkpoint.load(folder, session.ranks, model, optimiser, source, session.run.id)
    constants = session.run.optimiser
    betas = constants.beta1, constants.beta2
    enter_phase(optimiser, settings.learning_rate, settings.weight_decay, betas, constants.eps)

    point = own or Point(
        run=session.run.id,
        phase=phase.name,
        step=source.step if source else 0,
        window=0,
        pack=0,
        tokens=0,
        clock_tokens=0,
        end=False,
    )
    _rewind(session, point, fresh=own is None)
    if source is None:
        _export(session, learner, UNTRAINED)
        score(session, learner, point)
    return learner, point


def score(session: Session, learner: Learner, point: Point) -> None:
    """Score the held-out text and log it."""
    with session.autocast():
        found = evaluate(
            learner.model, learner.theta, session.text, session.token_bytes, session.ranks
        )
    place: dict[str, Json] = {
        "phase": point.phase,
        "step": point.step,
        "clock": round(point.clock_tokens),
    }
    session.log.append({"kind": "heldout", **place, **found.line()})


def export(session: Session, learner: Learner, point: Point) -> None:
    """Write the model of a phase that has ended; with it, the phase is finished."""
    # The line comes first: a kill between the two repeats both.
    _log_event(session, point, "end")
    _export(session, learner, point.phase)


def model_config(run: Run, sealed: Seal) -> ModelConfig:
    """What a run's sizes, its longest context and its tokenizer make together."""
    settings, special = run.model, sealed.special
    return ModelConfig(
        vocab_size=sealed.vocab_size,
        hidden_size=settings.hidden_size,
        num_layers=settings.num_layers,
        num_heads=settings.num_heads,
        intermediate_size=settings.intermediate_size,
        global_every=settings.global_every,
        local_window=settings.local_window,
        attn_out_dropout=settings.attn_out_dropout,
        max_position=max(MAX_POSITION, *(phase.settings.context for phase in run.phases)),
        pad_id=special.pad,
        eos_id=special.eos,
        bos_id=special.bos,
        unk_id=special.unk,
        mask_id=special.mask,
        sep_id=special.eos,
        cls_id=special.eos,  # as in the released configuration
    )


def _end_of(session: Session, phase: RunPhase) -> Point | None:
    after = phase.settings.after
    if after is None:
        return None
    point = checkpoint.newest(session.checkpoints, after)
    if point is None or not point.end:
        raise UserError(
            f"phase {phase.name} starts from the end of {after}, which is not trained to its end "
            f"in {session.folder}: train {after} first, or all phases in order"
        )
    return point


def _rewind(session: Session, point: Point, fresh: bool) -> None:
    # The start of a phase bears the step at which the phase before it ended: drop that too.
    step = point.step - 1 if fresh else point.step
    session.log.rewind(point.phase, step)
    session.journal.rewind(point.phase, step)
    if fresh:
        _log_event(session, point, "start")


def _log_event(session: Session, point: Point, event: str) -> None:
    line: dict[str, Json] = {
        "kind": "phase",
        "event": event,
        "phase": point.phase,
        "step": point.step,
    }
    session.log.append(line)


def _export(session: Session, learner: Learner, name: str) -> None:
    folder = session.model_folder(name)
    if session.ranks.first and not folder.exists():
        # Here, since transformers takes seconds to import and other ranks never need it.
        from safetensors import SafetensorError

        from trainer.convert.to_transformers import export as write

        try:
            write(learner.model, folder, learner.theta, learner.theta, session.tokenizer)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"cannot write the model {folder}: {error}; free space or fix the permissions and "
                "run the same command again"
            ) from error
    session.ranks.wait()
