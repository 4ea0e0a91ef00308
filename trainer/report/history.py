"""A run as its files tell it: run.json, the manifests of its phases, and log.jsonl.

Out: `History`. Phases lie on one axis of tokens: a phase begins where the one that it came after
ends, so branches from one checkpoint lie side by side. Models are named as their folders are:
`untrained` or `start`, the phases, `release`. Nothing here needs torch or the tokens themselves.
"""

from __future__ import annotations

import json
import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas import run as runs
from schemas.errors import UserError
from schemas.manifest import Manifest
from schemas.recipe import RELEASE, START, UNTRAINED, Phase
from schemas.run import Run
from schemas.store import Store
from trainer.flops import num_parameters
from trainer.report import exposure
from trainer.report.exposure import Exposure

F64 = NDArray[np.float64]
Fields = Mapping[str, Any]  # a line of the log


class Figure(NamedTuple):
    """Of one language in one score; bits per byte is None where there is too little text."""

    bits: float | None
    targets: int


class Score(NamedTuple):
    clock: int  # of its phase
    macro: float | None
    languages: Mapping[str, Figure]
    pooled: Mapping[str, Figure]  # languages without a figure, by the phase that mmBERT has them in


class Steps(NamedTuple):
    """A column a figure, a row [s] a step; `tokens` is the clock of the phase."""

    tokens: F64
    loss: F64
    lr: F64
    batch_packs: F64
    grad_norm: F64
    tokens_per_s: F64
    mfu: F64  # NaN where a log has none
    packing: F64


@dataclass(frozen=True)
class PhaseHistory:
    name: str
    settings: Phase
    manifest: Manifest
    offset: int  # tokens of the branch before it
    steps: Steps
    scores: tuple[Score, ...]
    ended: bool

    @property
    def clock(self) -> float:
        """Tokens of the budget that are done."""
        return float(self.steps.tokens[-1]) if self.steps.tokens.size else 0.0

    @property
    def batch_tokens(self) -> F64:
        """Room of each step's batch."""
        return self.steps.batch_packs * self.manifest.packing.pack_tokens

    @property
    def tokens(self) -> float:
        """Trained on, BOS and EOS counted."""
        return float((self.batch_tokens * self.steps.packing).sum())

    @property
    def seconds(self) -> float:
        """Of its steps alone: scores, checkpoints and exports are not in it."""
        if not self.steps.tokens.size:
            return 0.0
        return float((self.batch_tokens * self.steps.packing / self.steps.tokens_per_s).sum())


@dataclass(frozen=True)
class History:
    folder: Path
    run: Run
    phases: tuple[PhaseHistory, ...]  # in the order of the run; one that has not begun is empty
    others: Mapping[str, Score]  # untrained or start, and release
    machines: tuple[Fields, ...]  # what it ran on, each once

    @property
    def num_parameters(self) -> int:
        return num_parameters(self.run.model, self.vocab_size)

    @property
    def vocab_size(self) -> int:
        return self.phases[0].manifest.vocab_size

    @property
    def scores(self) -> dict[str, Score]:
        """The last score of each model, in the order in which they came to be."""
        last = {phase.name: phase.scores[-1] for phase in self.phases if phase.scores}
        first = {name: self.others[name] for name in (UNTRAINED, START) if name in self.others}
        end = {RELEASE: self.others[RELEASE]} if RELEASE in self.others else {}
        return first | last | end

    @property
    def begun(self) -> tuple[PhaseHistory, ...]:
        return tuple(phase for phase in self.phases if phase.steps.tokens.size)

    @property
    def released(self) -> str:
        """The name of the model that the run is about, as far as it has come."""
        if RELEASE in self.others:
            return RELEASE
        return self.begun[-1].name if self.begun else next(iter(self.scores), UNTRAINED)

    def phase(self, name: str) -> PhaseHistory:
        (found,) = (phase for phase in self.phases if phase.name == name)
        return found

    def branch(self, name: str) -> list[str]:
        """The phases that a model has been trained in, in the order of the run."""
        if name == RELEASE:
            assert self.run.release
            ends = [*self.run.release.phases]
        else:
            ends = [name] if name not in (UNTRAINED, START) else []
        wanted = {n for end in ends for n in (*exposure.ancestors(self.run, end), end)}
        return [phase.name for phase in self.phases if phase.name in wanted]

    def exposure(self, name: str) -> dict[str, Exposure]:
        """What a model has been trained on by language; a phase in progress counts so far."""
        return exposure.total([self.exposure_in(phase) for phase in self.branch(name)])

    def exposure_in(self, name: str) -> dict[str, Exposure]:
        """What one phase alone has delivered."""
        phase = self.phase(name)
        windows = phase.manifest.windows
        if phase.ended:
            return exposure.of_phase(phase.manifest, windows)
        done = phase.clock / phase.manifest.budget_tokens * windows
        return exposure.of_phase(phase.manifest, int(done), done - int(done)) if done else {}

    def entry(self, code: str) -> str:
        """The first phase of the run that has text of a language; empty where none has."""
        for phase in self.phases:
            if any(share.language == code for share in phase.manifest.languages):
                return phase.name
        return ""


def read(folder: Path, store: Store | None = None, upto: tuple[str, int] | None = None) -> History:
    """The history of the run in a folder; a log cut by a kill ends before the cut line.

    `upto` is a phase and a step: that phase is told as it stood then. Raises UserError when the
    folder holds no run.
    """
    url = str(folder.absolute() / "run.json")
    try:
        run = runs.load(url)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} holds no run.json: name the folder of a run, STORE/runs/<name>"
        ) from error
    manifest_of = exposure.manifests_of(run, store or runs.store_of(url))
    log = _Log(folder / "log.jsonl", *(upto or ("", 0)))
    offsets: dict[str, int] = {}
    phases = []
    for phase in run.phases:
        after, manifest = phase.settings.after, manifest_of(phase.name)
        ends = {name: offsets[name] + manifest_of(name).budget_tokens for name in offsets}
        offsets[phase.name] = ends[after] if after else 0
        phases.append(
            PhaseHistory(
                name=phase.name,
                settings=phase.settings,
                manifest=manifest,
                offset=offsets[phase.name],
                steps=log.steps_of(phase.name),
                scores=tuple(log.scores[phase.name]),
                ended=phase.name in log.ended,
            )
        )
    names = {phase.name for phase in run.phases}
    names |= set() if run.release else {RELEASE}  # of an earlier wish
    others = {
        name: scores[-1] for name, scores in log.scores.items() if scores and name not in names
    }
    return History(folder, run, tuple(phases), others, tuple(log.machines.values()))


class _Log:
    """log.jsonl by kinds, without what a phase did after its step `last`.

    Steps are packed as they are read: a long run has half a million.
    """

    def __init__(self, path: Path, phase: str, last: int) -> None:
        self.scores: dict[str, list[Score]] = defaultdict(list)
        self.ended: set[str] = set()
        self.machines: dict[str, Fields] = {}
        self._steps: dict[str, array[float]] = defaultdict(lambda: array("d"))
        if path.exists():
            with path.open(encoding="utf-8") as file:
                for line in file:
                    if not line.endswith("\n"):
                        continue
                    fields = json.loads(line)
                    if fields.get("phase") != phase or fields["step"] <= last:
                        self._take(fields)

    def steps_of(self, phase: str) -> Steps:
        columns = np.array(self._steps[phase]).reshape(-1, len(Steps._fields)).T
        return Steps(*columns)

    def _take(self, line: Fields) -> None:
        match line["kind"]:
            case "step":
                values = [line.get(name, math.nan) for name in Steps._fields]
                self._steps[line["phase"]].extend(values)
            case "heldout":
                self.scores[line["phase"]].append(_score(line))
            case "phase" if line["event"] == "end":
                self.ended.add(line["phase"])
            case "machine":
                what = {k: v for k, v in line.items() if k not in ("kind", "phase", "step")}
                self.machines[json.dumps(what, sort_keys=True)] = what


def _score(line: Fields) -> Score:
    return Score(
        clock=line["clock"],
        macro=line["macro"],
        languages=_figures(line["languages"].items()),
        pooled=_figures(line["pooled"]["phase"].items()),
    )


def _figures(found: Iterable[tuple[str, Fields]]) -> dict[str, Figure]:
    return {code: Figure(fields["bits_per_byte"], fields["targets"]) for code, fields in found}
