"""Export whatever holds a model as a `transformers` directory.

runs/<name>/checkpoints/<phase>-<step>    rotary bases, tokenizer and card as its run has them
CHECKPOINT.pt                             a raw Composer checkpoint: bases are the caller's
a `transformers` directory                its own bases, tokenizer and card
"""

from __future__ import annotations

from pathlib import Path

import torch

from schemas.errors import UserError
from schemas.store import local_path
from trainer.checkpoint import Point
from trainer.convert import from_checkpoint, from_composer, from_transformers, to_transformers
from trainer.convert.output import replaceable
from trainer.model import ModernBert, Theta
from trainer.report import card, history


def rewrite(
    source: Path,
    output: Path,
    theta_full: float | None = None,
    theta_local: float | None = None,
    tokenizer: str | None = None,
    torch_dtype: torch.dtype = torch.float32,
) -> None:
    """Write `output`; bases and tokenizer folder given here replace the source's.

    `theta_local` is `theta_full` where only that is given. Raises UserError for a source that holds
    no model, for a Composer checkpoint without a base, and when something else than a model would
    be replaced.
    """
    folder = local_path(tokenizer) if tokenizer else None
    output = replaceable(output, [source, *([folder] if folder else [])])
    given = None
    if theta_full is not None:
        given = Theta(theta_full, theta_full if theta_local is None else theta_local)
    elif theta_local is not None:
        raise UserError("a local rotary base needs the global one beside it: give both")
    model, theta, found = _read(source, given)
    text = _card(source, theta, given or theta)
    theta = given or theta
    to_transformers.export(
        model, output, theta.full, theta.local, tokenizer or found, torch_dtype, text
    )


def _read(source: Path, given: Theta | None) -> tuple[ModernBert, Theta, str | None]:
    if (source / "point.json").exists():
        return from_checkpoint.load(source)
    if source.suffix == ".pt":
        if given is None:
            raise UserError(
                f"{source} does not say its rotary bases: give --theta 10000 for a checkpoint of "
                "pretraining, --theta 160000 for one of a later phase"
            )
        loaded = from_composer.load(source, given)
        return loaded.model, loaded.theta, None
    model, theta = from_transformers.load(source)
    return model, theta, str(source) if (source / "tokenizer.json").exists() else None


def _card(source: Path, own: Theta, written: Theta) -> str | None:
    """What the run of a checkpoint says of it as it stood there, or the card of a directory.

    None without either. `own` are the bases of the source, `written` those of the export.
    """
    if (source / "point.json").exists():
        point = Point.model_validate_json((source / "point.json").read_bytes())
        found = history.read(source.resolve().parents[1], upto=(point.phase, point.step))
        return card.of_run(found, point.phase, written)
    place = source / card.NAME
    if not place.is_file():
        return None
    text = place.read_text(encoding="utf-8")
    return text if own == written else card.with_bases(text, written)
