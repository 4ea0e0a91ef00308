"""Trackers: TensorBoard and trackio, which get each line of the log as it is written.

    --track tensorboard     RUN/tensorboard/<phase>/     tensorboard --logdir RUN/tensorboard
    --track trackio         RUN/trackio/                 TRACKIO_DIR=RUN/trackio trackio show

    step       -> step/loss, step/lr, step/mfu, ...      heldout  -> heldout/macro, heldout/<code>
    exposure   -> exposure/<code>, in tokens             machine, phase -> nothing

The x axis is the run's step, a phase is a run of its own: branches lie above each other from the
step at which they part. Both write from threads of their own; nothing waits for them, and one that
fails is dropped with a warning. The log is the truth, these are for looking. A resumed phase writes
again what it does again; resuming is exact, so the figures are the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from schemas.digest import Json
from schemas.errors import UserError
from trainer.journal import Lines

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

NAMES = ("tensorboard", "trackio")

_NO_FIGURES = {"kind", "phase", "step", "window", "pack", "eta_s"}

Line = Mapping[str, Json]


class Tracker(Protocol):
    def put(self, phase: str, step: int, figures: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def require(names: Sequence[str]) -> None:
    """UserError where the package of a tracker is missing."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"--track {name}: the package {name} is not installed; add it with "
                "pip install 'mmbert[track]', or train without it"
            )


@contextmanager
def mirrored(log: Lines, names: Sequence[str], folder: Path) -> Iterator[None]:
    """While the block runs, each line of a run's log goes to these trackers too."""
    trackers = {name: _OPEN[name](folder / name) for name in names}

    def guarded(name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # of a library; a training does not end for its curves
            del trackers[name]
            log.warn(f"{name} is dropped: {error or type(error).__name__}")

    def put(line: Line) -> None:
        found = figures(line)
        for name, tracker in list(trackers.items()) if found else []:
            phase, step = str(line["phase"]), int(str(line["step"]))
            guarded(name, partial(tracker.put, phase, step, found))

    log.mirror = put if trackers else None
    try:
        yield
    finally:
        log.mirror = None
        for name, tracker in list(trackers.items()):
            guarded(name, tracker.close)


def figures(line: Line) -> dict[str, float]:
    """The numbers of a log line, by names for a tracker."""
    match line["kind"]:
        case "step":
            found = {k: v for k, v in line.items() if k not in _NO_FIGURES}
        case "heldout":
            found = {"macro": line["macro"], **_of_languages(line, "bits_per_byte")}
        case "exposure":
            found = _of_languages(line, "tokens")
        case _:
            return {}
    return {
        f"{line['kind']}/{name}": float(value)
        for name, value in found.items()
        if isinstance(value, int | float)
    }


def _of_languages(line: Line, field: str) -> dict[str, Json]:
    languages = line["languages"]
    assert isinstance(languages, Mapping)
    return {code: found[field] for code, found in languages.items() if isinstance(found, Mapping)}


class TensorBoard:
    """Event files, a folder a phase."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def put(self, phase: str, step: int, figures: Mapping[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if phase not in self._writers:
            # Its viewer forgets what an earlier process wrote from this step on.
            self._writers[phase] = SummaryWriter(str(self._folder / phase), purge_step=step)
        for name, value in figures.items():
            self._writers[phase].add_scalar(name, value, step)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class Trackio:
    """A local trackio project of the run's name, a run a phase."""

    def __init__(self, folder: Path) -> None:
        # It reads this when it is imported; a server or Space of the user's own goes first.
        os.environ.setdefault("TRACKIO_DIR", str(folder))
        self._project = folder.parent.name
        self._phase = ""

    def put(self, phase: str, step: int, figures: Mapping[str, float]) -> None:
        import trackio

        if phase != self._phase:
            self._phase = phase
            trackio.init(
                self._project,
                name=phase,
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        trackio.log(dict(figures), step=step)

    def close(self) -> None:
        import trackio

        if self._phase:
            trackio.finish()


_OPEN: dict[str, Callable[[Path], Tracker]] = {"tensorboard": TensorBoard, "trackio": Trackio}
