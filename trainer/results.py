"""What a run leaves of its models: held-out scores, exported directories, snapshots.

    log.jsonl                    a line when a phase begins or ends, two for each score
    models/<phase>/              the model at the end of a phase; with it, the phase is finished
    snapshots/<phase>-<step>/    models inside a phase, evenly over its clock
    report/                      curves and a page of all of it, drawn when a phase ends

Exported models are `transformers` directories. Rank 0 writes and the others wait, since importing
transformers takes seconds and one copy is enough.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from schemas.digest import Json
from schemas.errors import UserError
from trainer.checkpoint import Point
from trainer.heldout import evaluate
from trainer.model import ModernBert, Theta
from trainer.report import card, exposure
from trainer.session import Session


def score(session: Session, model: ModernBert, theta: Theta, point: Point) -> None:
    """Score the held-out text, and log it with what the model has seen of each language."""
    with session.autocast():
        found = evaluate(model, theta, session.text, session.token_bytes, session.ranks)
    place: dict[str, Json] = {
        "phase": point.phase,
        "step": point.step,
        "clock": round(point.clock_tokens),
    }
    session.log.append({"kind": "heldout", **place, **found.line()})
    seen = exposure.line(session.run, exposure.manifests_of(session.run, session.store), point)
    if seen:
        session.log.append(seen)


def export(session: Session, model: ModernBert, theta: Theta, point: Point) -> None:
    """Write the model of a phase that has ended; with it, the phase is finished and drawn."""
    # The line comes first: a kill between the two repeats both.
    log_event(session, point, "end")
    write_model(session, model, theta, session.model_folder(point.phase))
    report(session)


def snapshot(session: Session, model: ModernBert, theta: Theta, point: Point) -> None:
    """Keep the model as it is now."""
    write_model(session, model, theta, session.snapshots / point.name)


def snapshots(session: Session, phase: str) -> list[Path]:
    """The models kept inside a phase, the latest last; whatever else lies there is none."""
    found = ((path.name.rpartition("-"), path) for path in session.snapshots.glob("[!.]*/"))
    mine = [(int(step), p) for (name, _, step), p in found if name == phase and step.isdecimal()]
    return [path for _, path in sorted(mine)]


def rewind(session: Session, point: Point, fresh: bool) -> None:
    """Forget what lies after a point of its phase; `fresh` is a phase's start, which is logged."""
    # The start of a phase bears the step at which the phase before it ended: drop that too.
    step = point.step - 1 if fresh else point.step
    session.log.rewind(point.phase, step)
    session.journal.rewind(point.phase, step)
    if session.ranks.first:
        for path in snapshots(session, point.phase):
            if int(path.name.rpartition("-")[2]) > step:
                shutil.rmtree(path)
    if fresh:
        log_event(session, point, "start")


def log_event(session: Session, point: Point, event: str) -> None:
    line: dict[str, Json] = {
        "kind": "phase",
        "event": event,
        "phase": point.phase,
        "step": point.step,
    }
    session.log.append(line)


def report(session: Session) -> None:
    """Draw what the run has come to; what goes wrong there is a warning in the log."""
    if session.ranks.first:
        from trainer.report.draw import draw  # matplotlib takes a second

        draw(session)
    session.ranks.wait()


def write_model(session: Session, model: ModernBert, theta: Theta, folder: Path) -> None:
    """Export a model, unless it is there already."""
    if session.ranks.first and not folder.exists():
        from safetensors import SafetensorError

        from trainer.convert.to_transformers import export as write

        try:
            text = card.for_session(session, folder, theta)
            write(model, folder, theta.full, theta.local, session.tokenizer, model_card=text)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"cannot write the model {folder}: {error}; free space or fix the permissions and "
                "run the same command again"
            ) from error
    session.ranks.wait()
