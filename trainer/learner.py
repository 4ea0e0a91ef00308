"""What learns in a phase: model and optimiser, and where they start from.

A phase builds its model anew and loads into it, whether the phase before ended a second or a month
ago: going on and resuming are one path, so their results are equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from schemas.errors import UserError
from schemas.recipe import MAX_POSITION, START, UNTRAINED
from schemas.run import Run, RunPhase
from schemas.seal import Seal
from trainer import checkpoint, start
from trainer.checkpoint import Point
from trainer.convert.composer_moments import restore
from trainer.initialise import build
from trainer.model import ModelConfig, ModernBert, Theta
from trainer.optimiser import build_optimiser, enter_phase
from trainer.results import rewind, score, write_model
from trainer.session import Session


@dataclass(frozen=True)
class Learner:
    """`model` holds the weights; `parallel` is it, with gradients averaged over the ranks."""

    model: ModernBert
    parallel: nn.Module
    optimiser: Optimizer
    theta: Theta


def begin(session: Session, phase: RunPhase) -> tuple[Learner, Point]:
    """The learner where `phase` stands: at its last checkpoint, or at its start.

    A phase starts with the weights and moments at the end of `after`, else with those of the model
    that the run starts from, else with random weights. Raises UserError when `after` has not ended
    or the start model does not fit.
    """
    settings, folder = phase.settings, session.checkpoints
    model = build(model_config(session.run, session.sealed), session.run.seed, session.ranks.device)
    optimiser = build_optimiser(model, settings.learning_rate, settings.weight_decay)
    theta = Theta(settings.rope_theta, settings.rope_theta)
    learner = Learner(model, session.ranks.wrap(model), optimiser, theta)

    own = checkpoint.newest(folder, phase.name)
    source = own or _end_of(session, phase)
    if source:
        checkpoint.load(folder, session.ranks, model, optimiser, source, session.run.id)
    step = source.step if source else _begin_anew(session, learner)
    constants = session.run.optimiser
    betas = constants.beta1, constants.beta2
    enter_phase(optimiser, settings.learning_rate, settings.weight_decay, betas, constants.eps)

    point = own or Point.before(session.run.id, phase.name, step)
    rewind(session, point, fresh=own is None)
    return learner, point


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


def _begin_anew(session: Session, learner: Learner) -> int:
    """Fill a learner with the model before any phase; returns the step of its optimiser.

    The first phase that begins with it has it scored and exported, as the trained models are.
    """
    name, model, theta, step = UNTRAINED, learner.model, learner.theta, 0
    if session.run.start:
        found = start.load(session.run.start, session.sealed, model.config, theta)
        name, theta, step = START, found.theta, found.step
        model.load_state_dict(found.model.state_dict())
        if found.moments:
            restore(model, learner.optimiser, found.moments)
    folder = session.model_folder(name)
    if not folder.exists():
        session.log.rewind(name, -1)
        score(session, model, theta, Point.before(session.run.id, name, step))
        write_model(session, model, theta, folder)
    return step
