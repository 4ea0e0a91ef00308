"""The folder of a run that was never trained: run.json, manifests and a log of invented figures.

As many languages as are asked for, five phases with three branches, and a merged release: what the
report is drawn from at any size, in a second.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from schemas import manifest as manifests
from schemas import run as runs
from schemas.language import by_subset
from schemas.ledger import Ledger
from schemas.manifest import Absence, LanguageShare, Manifest, Packing, StratumShare
from schemas.recipe import RELEASE, UNTRAINED, ModelSettings, Optimiser, Release
from schemas.run import Run, RunPhase, SourceNote
from schemas.store import Store
from tests.runs import phase_settings
from trainer.report import exposure

PACKING = Packing(pack_tokens=8192, max_pieces=64, window_packs=2000)
WINDOWS = 20
NUM_STEPS = 120  # a phase
PHASES = {  # languages, tokens of the budget, what a phase changes
    "pretrain": (60, 2_300_000_000, {"tau": 0.7, "context": 1024}),
    "extend": (110, 600_000_000, {"tau": 0.5, "after": "pretrain", "mask_rate": 0.15}),
    "decay-eng": (110, 100_000_000, {"tau": 0.3, "after": "extend", "mask_rate": 0.05}),
    "decay-cont": (110, 100_000_000, {"tau": 0.3, "after": "extend", "mask_rate": 0.05}),
    "decay-all": (2000, 100_000_000, {"tau": 0.3, "after": "extend", "mask_rate": 0.05}),
}


@lru_cache
def sizes() -> dict[str, int]:
    """UTF-8 bytes of the largest subset of each language, the largest first."""
    rows = sorted(by_subset().values(), key=lambda row: -row.utf8_bytes)
    first: dict[str, tuple[str, int]] = {"eng": ("eng_Latn", 10 * rows[0].utf8_bytes)}
    for row in rows:
        if row.code not in ("und", "code"):
            first.setdefault(row.code, (row.subset, row.utf8_bytes))
    return dict(first.values())


def make_run(root: Path, num_languages: int, phases: tuple[str, ...] = tuple(PHASES)) -> Path:
    """A run of these phases; returns its folder. With all five it has a release."""
    store = Store.at(str(root))
    found, described = {}, []
    for name in phases:
        most, budget, changed = PHASES[name]
        settings = phase_settings(
            **{"context": 8192, "budget_tokens": budget, "pool_tokens": budget, "rope_theta": 16e4}
            | changed
        )
        found[name] = _manifest(name, settings, list(sizes())[: min(most, num_languages)])
        url = manifests.url_of(store, found[name])
        manifests.write_json(url, found[name].model_dump(mode="json"))
        described.append(RunPhase(name=name, manifest=store.relative(url), settings=settings))
    whole = phases == tuple(PHASES)
    run = Run(
        recipe="invented",
        seed=1,
        tokenizer="tokenizers/0123456789abcdef",
        heldout="heldout/0.json",
        model=ModelSettings(),
        optimiser=Optimiser(),
        phases=tuple(described),
        release=Release(method="ties", base="extend", phases=phases[2:]) if whole else None,
        title="An invented run <of figures>",
        sources=(
            SourceNote(name="fineweb2", path="/somewhere/private", licence="ODC-By 1.0"),
            SourceNote(name="dclm", path="/somewhere/private", licence="unknown"),
        ),
    ).sealed()
    folder = Path(runs.publish(store, run)).parent
    lines = _log(run, found, list(sizes())[:num_languages])
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _manifest(name: str, settings, languages: list[str]) -> Manifest:
    size = np.array([sizes()[subset] for subset in languages], float)
    weights = size**settings.tau / (size**settings.tau).sum()
    strata, shares = [], []
    for i, (subset, weight) in enumerate(zip(languages, weights.tolist(), strict=True)):
        rows = max(1, round(weight * settings.budget_tokens / 500))
        there = max(1, round(size[i] / size.sum() * 2_000_000))
        strata.append(
            StratumShare(
                id=f"{i + 1:016x}",
                folder=f"strata/fineweb2/{subset}",
                source="fineweb2",
                language=subset,
                tier="all",
                rows_available=there,
                tokens_available=there * 500,
                target_tokens=rows * 500,
                rows=rows,
            )
        )
        shares.append(
            LanguageShare(
                language=subset[:3],
                tokens_available=there * 500,
                weight=weight,
                target_tokens=rows * 500,
                rows=rows,
                tokens=rows * 500,
                tokens_standard_error=0,
                epochs=rows / there,
            )
        )
    return Manifest(
        recipe="invented",
        phase=name,
        seed=1,
        tokenizer="0" * 64,
        vocab_size=256_000,
        context=settings.context,
        mask_rate=settings.mask_rate,
        tau=settings.tau,
        max_epochs=1,
        pool_tokens=settings.pool_tokens,
        budget_tokens=settings.budget_tokens,
        packing=PACKING,
        windows=WINDOWS,
        languages=tuple(shares),
        strata=tuple(strata),
        absent=(Absence(language="xno", reason="no source has it"),),
        ledger=Ledger(read=100, kept=90, dropped={"too_short": 10}),
    ).sealed()


def _log(run: Run, found: dict[str, Manifest], languages: list[str]) -> Iterator[dict]:
    """Lines of a run in which the last language gets worse in each phase and others better."""
    noise = np.random.default_rng(0)
    yield _heldout(UNTRAINED, 0, 0, languages, {}, 1)
    ends: dict[str, int] = {}
    for phase in run.phases:
        manifest, first = found[phase.name], ends.get(phase.settings.after or "", 0)
        before = exposure.ancestors(run, phase.name)
        old = exposure.total(
            [exposure.of_phase(found[name], found[name].windows) for name in before]
        )
        yield _event("start", phase.name, first)
        yield {
            "kind": "machine", "phase": phase.name, "step": first, "device": "NVIDIA H200",
            "ranks": 8, "threads": 4, "precision": "bf16", "peak_flops_per_s": 989e12,
            "peak_origin": "data sheet", "versions": {"python": "3.12.1", "torch": "2.13.0"},
        }  # fmt: skip
        for i in range(1, NUM_STEPS + 1):
            clock = manifest.budget_tokens * i // NUM_STEPS
            yield _step(phase, first + i, clock, noise)
            if i % (NUM_STEPS // 4) == 0:
                done = exposure.of_phase(manifest, WINDOWS * i // NUM_STEPS)
                seen = {c: e.tokens for c, e in exposure.total([old, done]).items()}
                yield _heldout(phase.name, first + i, clock, languages, seen, len(before) + 2)
        ends[phase.name] = first + NUM_STEPS
        yield _event("end", phase.name, ends[phase.name])
    if run.release:
        yield _heldout(RELEASE, max(ends.values()), 0, languages, seen, 5)


def _step(phase: RunPhase, step: int, clock: int, noise: np.random.Generator) -> dict:
    settings = phase.settings
    left = 1 - clock / settings.budget_tokens
    packs = settings.budget_tokens / NUM_STEPS / PACKING.pack_tokens
    packs *= min(1.5, 0.2 + step / 20) if phase.name == "pretrain" else 1.0
    speed = 250_000 + float(noise.normal(0, 6_000))
    return {
        "kind": "step", "phase": phase.name, "step": step, "window": 0, "pack": 0,
        "tokens": clock, "loss": 1 + settings.mask_rate * 3 + 4 / step + noise.normal(0, 0.03),
        "lr": 8e-4 * (math.sqrt(left) if "decay" in phase.name else min(1.0, step / 12)),
        "batch_packs": math.ceil(packs),
        "grad_norm": 0.3 + abs(float(noise.normal(0, 0.05))), "tokens_per_s": speed,
        "flops_per_s": speed * 1e9, "mfu": speed / 8e5, "packing": 0.999, "eta_s": 10.0,
    }  # fmt: skip


def _heldout(phase: str, step: int, clock: int, languages: list[str], seen: dict, age: int) -> dict:
    figures = {}
    for i, subset in enumerate(languages):
        bits = 3.0 + (i % 7) / 7
        if seen:
            bits *= 0.35 + 0.5 / (1 + math.log10(1 + seen.get(subset[:3], 0)))
        if subset == languages[-1] and len(languages) > 1:
            bits = 3.0 + age / 10
        small = i % 9 == 8
        figures[subset[:3]] = {
            "bits_per_byte": None if small else bits,
            "targets": 30 if small else 4_000 - i,
        }
    known = [figure["bits_per_byte"] for figure in figures.values() if figure["bits_per_byte"]]
    return {
        "kind": "heldout", "phase": phase, "step": step, "clock": clock,
        "macro": sum(known) / len(known), "languages": figures,
        "pooled": {"script": {}, "phase": {"decay-all": {"bits_per_byte": 3.5, "targets": 900}}},
    }  # fmt: skip


def _event(event: str, phase: str, step: int) -> dict:
    return {"kind": "phase", "event": event, "phase": phase, "step": step}
