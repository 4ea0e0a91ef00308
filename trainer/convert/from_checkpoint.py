"""Import: a checkpoint of a run here, at any step, with what its run says of it.

runs/<name>/run.json                         sizes, phases, tokenizer
runs/<name>/checkpoints/<phase>-<step>/      weights and moments; only the weights are read
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

from torch.distributed.checkpoint import state_dict_loader
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader

from schemas import run as runs
from schemas import seal as seals
from schemas.errors import UserError
from trainer.checkpoint import Point
from trainer.initialise import build
from trainer.learner import model_config
from trainer.model import ModernBert, Theta


class Trained(NamedTuple):
    model: ModernBert  # on the CPU
    theta: Theta
    tokenizer: str  # its folder


def load(checkpoint: Path) -> Trained:
    """The model of a checkpoint folder, with the rotary base of its phase.

    Raises UserError when the folder is no checkpoint, or lies in no run.
    """
    try:
        point = Point.model_validate_json((checkpoint / "point.json").read_bytes())
        run_json = checkpoint.resolve().parents[1] / "run.json"
        run = runs.load(str(run_json))
    except (FileNotFoundError, ValueError) as error:
        raise UserError(
            f"{checkpoint} is no checkpoint in a run of this version: name a folder "
            "runs/<name>/checkpoints/<phase>-<step>"
        ) from error
    tokenizer = runs.store_of(str(run_json)).resolve(run.tokenizer)
    sealed, _ = seals.load(tokenizer)
    (settings,) = (phase.settings for phase in run.phases if phase.name == point.phase)
    model = build(model_config(run, sealed), seed=0)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            state_dict_loader.load(
                {"model": model.state_dict()}, storage_reader=FileSystemReader(checkpoint)
            )
    except (OSError, CheckpointException) as error:
        raise UserError(
            f"{checkpoint} cannot be loaded ({str(error).splitlines()[0]}): name another one"
        ) from error
    return Trained(model, Theta(settings.rope_theta, settings.rope_theta), tokenizer)
