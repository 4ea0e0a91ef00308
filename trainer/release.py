"""The model that a run releases, made of those of its phases once all of them are trained.

    ties       the branches at their ends, over the phase that they came from
    average    the models at the ends of several phases
    ema        the snapshots of one phase and its end, the latest counting most

It is merged under a hidden name, scored on the held-out text, and only then named models/release:
as for a phase, the folder says that this is done, and release.json in it how. One that was made
otherwise than the run says now is replaced. Whatever a kill leaves is made again, to the bit.
"""

from __future__ import annotations

from pathlib import Path

from schemas import folder_digests
from schemas.recipe import RELEASE, Release
from schemas.run import RELEASED, is_made
from schemas.store import json_file, publish_folder
from trainer.checkpoint import Point
from trainer.convert import from_transformers
from trainer.convert.merge import merge
from trainer.report import card
from trainer.results import log_event, report, score, snapshots
from trainer.session import Session


def release(session: Session, settings: Release) -> None:
    """Merge, score and name the model, unless it is there as `settings` say it is made; all phases
    must be trained.

    Raises UserError when the models differ in more than their weights: rotary bases, for one.
    """
    folder = session.model_folder(RELEASE)
    if is_made(session.folder, session.run, RELEASE):
        return
    point = Point.before(session.run.id, RELEASE, _last_step(session, settings))
    session.log.rewind(RELEASE, -1)
    log_event(session, point, "start")
    merged = folder.with_name(f".{RELEASE}")
    if session.ranks.first:
        _merge(session, settings, merged)
    session.ranks.wait()
    model, theta = from_transformers.load(merged)
    score(session, model.to(session.ranks.device), theta, point)
    log_event(session, point, "end")
    if session.ranks.first:
        text = card.for_session(session, folder, theta)
        if text:
            card.write(merged, text)
        folder_digests.put(merged, RELEASED, json_file(settings.model_dump(mode="json")))
        publish_folder(merged, folder)
    session.ranks.wait()
    report(session)


def _merge(session: Session, settings: Release, output: Path) -> None:
    models = [session.model_folder(name) for name in settings.phases]
    if settings.method == "ema":
        models = [*snapshots(session, settings.phases[0]), *models]
    merge(
        models,
        output,
        settings.method,
        weights=settings.weights or None,
        density=settings.density,
        lam=settings.lam,
        base=session.model_folder(settings.base) if settings.base else None,
        trim_scope=settings.trim_scope,
        decay=settings.decay,
    )


def _last_step(session: Session, settings: Release) -> int:
    """The step at which the latest of the merged phases ended."""
    ends = (line for line in session.log.read() if line.get("event") == "end")
    steps = (int(str(line["step"])) for line in ends if line["phase"] in settings.phases)
    return max(steps, default=0)
