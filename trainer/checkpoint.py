"""Checkpoints: all that the next step depends on, in a folder that exists whole or not at all.

    checkpoints/<phase>-<step>/     torch.distributed.checkpoint: model, both moments and the
                                    optimiser's step; beside them point.json, digests.json
    checkpoints/latest.json         {"path", ...point}: the newest one of the run

Nothing in it depends on the number of ranks or on the device, and no hyper-parameter is stored:
those are the phase's, so entering a phase is loading and then setting them. A checkpoint is
written as `.<name>.tmp` and renamed; a phase keeps its last two, and from its end on that one.
"""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.optim import Optimizer

from schemas import folder_digests
from schemas.errors import UserError
from schemas.point import Point, newest, points_in
from schemas.store import sync_folder, write_json
from trainer.distributed import Ranks, tells_of_a_dead_rank

__all__ = ["Contents", "Point", "contents", "load", "newest", "save"]

KEEP = 2

Contents = dict[str, Tensor | dict[str, Tensor]]


def contents(model: nn.Module, optimiser: Optimizer) -> Contents:
    """What a checkpoint holds, as views: saving reads them, loading writes into them.

    Names are the parameters'. An optimiser without moments gets them (zeros; its step must then
    be set, as loading does).
    """
    get_optimizer_state_dict(model, optimiser)
    moments: dict[str, dict[str, Tensor]] = {"exp_avg": {}, "exp_avg_sq": {}}
    for name, parameter in model.named_parameters():
        for moment, tensors in moments.items():
            tensors[name] = optimiser.state[parameter][moment]
    steps = [group["step"] for group in optimiser.param_groups]
    return {"model": model.state_dict(), **moments, "steps": torch.stack(steps)}


def save(folder: Path, ranks: Ranks, model: nn.Module, optimiser: Optimizer, point: Point) -> None:
    """Write a checkpoint, on all ranks together, and prune older ones."""
    final, temporary = folder / point.name, folder / f".{point.name}.tmp"
    if not final.exists():
        try:
            if ranks.first:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
            ranks.wait()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "torch.distributed is disabled")
                state_dict_saver.save(
                    contents(model, optimiser),
                    storage_writer=FileSystemWriter(temporary),
                    process_group=ranks.patient,
                )
        except (OSError, CheckpointException) as error:
            raise UserError(
                f"cannot write the checkpoint {final}: {_cause(error)}; free space or fix the "
                "permissions and run the same command again (the checkpoint before it is whole)"
            ) from error
        if ranks.first:
            write_json(str(temporary / "point.json"), point.model_dump(mode="json"))
            folder_digests.record(temporary)  # reads it again: a second or two for each GB
            os.replace(temporary, final)
            sync_folder(folder)
    if ranks.first:
        latest = {"path": point.name, **point.model_dump(mode="json")}
        write_json(str(folder / "latest.json"), latest)
        _prune(folder, point)
    ranks.wait()


def load(
    folder: Path, ranks: Ranks, model: nn.Module, optimiser: Optimizer, point: Point, run: str
) -> None:
    """Fill model, moments and step from a checkpoint.

    Raises UserError when it is another run's or another model's.
    """
    path = folder / point.name
    if point.run != run:
        raise UserError(
            f"{path} belongs to run {point.run}, not to {run}: remove or move the folder "
            f"{folder}, or start the run description that it belongs to"
        )
    target = contents(model, optimiser)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            state_dict_loader.load(
                target,
                storage_reader=FileSystemReader(path),
                process_group=ranks.patient,
            )
    except (OSError, CheckpointException) as error:
        raise UserError(
            f"{path} cannot be loaded ({_cause(error)}); remove the folder to go on from the "
            "checkpoint before it"
        ) from error
    steps = target["steps"]
    assert isinstance(steps, Tensor)
    for group, step in zip(optimiser.param_groups, steps, strict=True):
        group["step"].copy_(step)


def _cause(error: OSError | CheckpointException) -> str:
    """What went wrong on the first rank where something did, without its traceback."""
    cause: BaseException = error
    if isinstance(error, CheckpointException):
        cause = next(iter(error.failures.values()))[0]
        if isinstance(cause, RuntimeError) and tells_of_a_dead_rank(cause):
            raise cause
    return str(cause).splitlines()[0]


def _prune(folder: Path, current: Point) -> None:
    """Keep the last two inside a phase, none once it has ended; remove what a kill left behind."""
    inside = [p for p in points_in(folder) if p.phase == current.phase and not p.end]
    keep = 0 if current.end else KEEP
    for point in sorted(inside, key=lambda p: p.step)[: len(inside) - keep]:
        # Renamed first: a folder that is being removed must never look like a checkpoint.
        os.replace(folder / point.name, folder / f".{point.name}.tmp")
    for temporary in folder.glob(".*.tmp"):
        shutil.rmtree(temporary, ignore_errors=True)
