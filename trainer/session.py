"""What a training process holds from its first phase to its last: run, ranks, files, wishes.

Opening a session reads run.json and all that it names beside the manifests, and takes the run's
folder for this process group alone: two trainers in one folder would overwrite each other.
"""

from __future__ import annotations

import fcntl
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

import torch
from pydantic import ValidationError
from torch import Tensor

from schemas import run as runs
from schemas import seal
from schemas.errors import UserError
from schemas.run import Heldout, Run, RunPhase
from schemas.store import Store, local_path, read_bytes
from schemas.token_bytes import token_bytes
from trainer.distributed import Ranks
from trainer.heldout_text import HeldoutText
from trainer.journal import Journal, Lines


class Wishes:
    """What this rank wants at the next step: a signal asks to stop, rank 0's clock to save.

    All ranks act on the sum over ranks of `tensor()`, so they act at the same step.
    """

    def __init__(self, ranks: Ranks, checkpoint_every_s: float) -> None:
        self._ranks = ranks
        self._every_s = checkpoint_every_s
        self._saved = time.monotonic()
        self._stop = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def saved(self) -> None:
        self._saved = time.monotonic()

    def tensor(self) -> Tensor:
        """float64 [2]: stop, save."""
        due = self._ranks.first and time.monotonic() - self._saved >= self._every_s
        wishes = [float(self._stop), float(due)]
        return torch.tensor(wishes, dtype=torch.float64, device=self._ranks.device)


@dataclass(frozen=True)
class Session:
    run: Run
    store: Store
    folder: Path
    ranks: Ranks
    sealed: seal.Seal
    text: HeldoutText
    token_bytes: Tensor  # [vocabulary] int64
    log: Lines
    journal: Journal
    wishes: Wishes
    lock: IO[str] | None
    micro_batch_tokens: int | None = None  # that a device takes at once; None: a pack

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def snapshots(self) -> Path:
        return self.folder / "snapshots"

    @property
    def tokenizer(self) -> str:
        return self.store.resolve(self.run.tokenizer)

    def model_folder(self, name: str) -> Path:
        """Where a phase's model is exported; it exists only when the phase is finished."""
        return self.folder / "models" / name

    def autocast(self) -> torch.autocast:
        """bfloat16 matrix products, or none where the run trains in fp32."""
        wanted = self.run.optimiser.precision == "bf16"
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=wanted)


def open_session(
    url: str,
    ranks: Ranks,
    checkpoint_every_s: float,
    store_url: str | None = None,
    micro_batch_tokens: int | None = None,
) -> Session:
    """Everything that `run.json` at `url` names.

    Raises UserError when a file is missing, when the tokenizer is not the sealed one, when the run
    does not lie on a disk, or when another trainer is at work in its folder.
    """
    run = _load(url)
    folder = local_path(url.rsplit("/", 1)[0])
    if folder is None:
        raise UserError(
            f"{url} is not on a disk of this machine, where logs and checkpoints are written: copy "
            "run.json into a folder of its own and name its store with --store"
        )
    store = Store.at(store_url) if store_url else runs.store_of(url)
    sealed, tokenizer_json = seal.load(store.resolve(run.tokenizer))
    held_out = Heldout.model_validate_json(read_bytes(store.resolve(run.heldout)))
    return Session(
        run=run,
        store=store,
        folder=folder,
        ranks=ranks,
        sealed=sealed,
        text=HeldoutText(store, held_out, sealed),
        token_bytes=torch.from_numpy(token_bytes(tokenizer_json, sealed)),
        log=Lines(folder / "log.jsonl", ranks.first),
        journal=Journal(folder, ranks.first),
        wishes=Wishes(ranks, checkpoint_every_s),
        lock=_claim(folder) if ranks.first else None,
        micro_batch_tokens=micro_batch_tokens,
    )


def chosen(run: Run, name: str | None) -> tuple[RunPhase, ...]:
    """All phases of a run, or the one of that name; UserError when there is none."""
    phases = tuple(phase for phase in run.phases if name in (None, phase.name))
    if not phases:
        names = ", ".join(phase.name for phase in run.phases)
        raise UserError(f"run {run.recipe} has no phase {name!r}; its phases are {names}")
    return phases


def _load(url: str) -> Run:
    try:
        return runs.load(url)
    except FileNotFoundError as error:
        raise UserError(
            f"there is no run description {url}; `mmbert train RECIPE` writes one and starts it"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(
            f"{url} is not a run description of this version: {place}: {first['msg']}; "
            "write it again with `mmbert train RECIPE`"
        ) from error


LOOK_S = 0.1


def _claim(folder: Path) -> IO[str]:
    """Hold the folder until this process ends, however it ends."""
    lock = (folder / ".lock").open("w")
    for last in (False, False, True):  # who looks whether it is held holds it for a moment
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if last:
                raise UserError(
                    f"another trainer is at work in {folder}: wait for it, or stop it with Ctrl-C"
                ) from error
            time.sleep(LOOK_S)
    return lock
