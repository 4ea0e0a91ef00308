"""Runs that are traced, over small strata of several shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas import run as runs
from schemas.manifest import Packing
from schemas.store import Store
from tests.deliveries import Delivered, describe
from tests.runs import phase_settings
from tests.stores import Settings, make_manifest
from trainer.sightings import Document, PhaseSightings
from trainer.timeline import Timeline

STRATA = ("dclm/eng_Latn/all", "fineweb2/deu_Latn/all", "fineweb2/fao_Latn/all")
PACKING = Packing(pack_tokens=256, max_pieces=16, window_packs=5)
GROWING = phase_settings(batch_packs=5, min_batch_packs=1, batch_warmup_tokens=6_000)
AFTER = phase_settings(after="pretrain", batch_packs=3)


def documents(seed: int, num: int, longest: int = 300) -> list[int]:
    return np.random.default_rng(seed).integers(1, longest, num).tolist()


def run_of(root: Path, epochs: float = 1.7, **left_out: list[tuple[str, int, int]]) -> Path:
    """Two phases over the same strata, in shards of different sizes; one of one document."""
    lengths = {
        STRATA[0]: [documents(0, 40), documents(1, 25)],
        STRATA[1]: [documents(2, 30), [], documents(3, 8)],
        STRATA[2]: [[200]],
    }
    excluded = {int(window.removeprefix("from_")): gone for window, gone in left_out.items()}
    urls = {
        name: make_manifest(
            root, lengths, Settings(packing=PACKING, epochs=epochs, phase=name), excluded=excluded
        )
        for name in ("pretrain", "extend")
    }
    phases = {"pretrain": (urls["pretrain"], GROWING), "extend": (urls["extend"], AFTER)}
    return describe(Store.at(str(root)), phases)


def timeline(run_json: Path, estimate: bool = False) -> Timeline:
    url = str(run_json)
    return Timeline(runs.load(url), runs.store_of(url), run_json.parent, estimate)


def watch_plans(told: Timeline, phase: str, patched: pytest.MonkeyPatch) -> set[int]:
    """The windows of a phase that are planned from now on."""
    planned: set[int] = set()
    planner = told.data(phase).planner
    plan = planner.plan
    patched.setattr(planner, "plan", lambda window: (planned.add(window), plan(window))[1])
    return planned


def scanned(delivered: list[Delivered], shard: str, document: int) -> list[Delivered]:
    return [d for d in delivered if (d.shard, d.document) == (shard, document)]


def told_of(document: Document, phases: list[PhaseSightings]) -> list[Delivered]:
    """The sightings of a document whose steps are known, as deliveries to one rank."""
    return [
        Delivered(
            phase.phase, s.step, 0, s.window, s.pack, s.place, document.shard, document.document,
            s.start, s.length,
        )
        for phase in phases
        for s in phase.sightings
        if s.step is not None and s.pack is not None and s.place is not None
    ]  # fmt: skip


def in_order(delivered: list[Delivered]) -> list[Delivered]:
    return sorted(delivered, key=lambda d: (d.phase, d.step, d.window, d.pack, d.place))
