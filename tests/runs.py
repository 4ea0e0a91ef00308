"""A small run for the trainer's tests: tokenizer, held-out text, manifests and run.json.

The model has 4 layers and 500 words; a phase is some twenty packs of 256 tokens.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from schemas import run, seal, stratum
from schemas.manifest import Packing
from schemas.recipe import RELEASE, ModelSettings, Optimiser, Release, Start
from schemas.recipe import Phase as PhaseSettings
from schemas.run import (
    RELEASED,
    Heldout,
    HeldoutStratum,
    Run,
    RunPhase,
    RunStart,
    digest_of_weights,
)
from schemas.shard import ShardMeta, write
from schemas.store import Store, join, write_json
from tests.stores import SPECIAL, VOCAB_SIZE, Settings, documents_of, make_manifest
from trainer import release, results
from trainer.distributed import Ranks
from trainer.learner import begin
from trainer.loop import batches, train_step
from trainer.phase import Batch, Phase
from trainer.session import Session, open_session

LENGTHS = {
    "fineweb2/deu_Latn/all": [[40, 90, 33, 150, 64], [70, 20, 118, 55]],
    "fineweb2/fao_Latn/all": [[25, 80, 130, 44]],
    "dclm/eng_Latn/all": [[100] * 12 + [30] * 12],
}
PACKING = Packing(pack_tokens=256, max_pieces=16, window_packs=4)
MODEL = ModelSettings(hidden_size=64, num_layers=4, num_heads=2, intermediate_size=96)


def tokenizer_json() -> bytes:
    """A BPE of VOCAB_SIZE words without merges."""
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    words = names + [f"▁w{i}" for i in range(VOCAB_SIZE - len(names))]
    special = [
        {"id": i, "content": name, "special": True, "single_word": False, "lstrip": False}
        | {"rstrip": False, "normalized": False}
        for i, name in enumerate(names)
    ]
    model = {"type": "BPE", "unk_token": "<unk>", "vocab": {w: i for i, w in enumerate(words)}}
    content = {"version": "1.0", "added_tokens": special, "model": model | {"merges": []}}
    nothing = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    return json.dumps(content | dict.fromkeys(nothing)).encode()


def phase_settings(**changed: object) -> PhaseSettings:
    settings = {
        "context": 128,
        "mask_rate": 0.3,
        "rope_theta": 10_000.0,
        "languages": ("deu", "eng", "fao"),
        "tau": 1.0,
        "shares": {"multilingual": 1.0},
        "pool_tokens": 1,
        "budget_tokens": 1,
        "learning_rate": 3e-3,
        "warmup_tokens": 1000,
        "batch_packs": 3,
    }
    return PhaseSettings.model_validate(settings | changed)


def make_run(
    root: Path,
    phases: dict[str, PhaseSettings],
    epochs: float = 2.0,
    precision: str = "fp32",
    model: ModelSettings = MODEL,
    start: Start | None = None,
    release: Release | None = None,
) -> str:
    """A store under `root` with a run of these phases; returns the path of run.json."""
    store = Store.at(str(root))
    sealed = seal.seal(tokenizer_json(), SPECIAL, "tests")
    described = []
    for name, settings in phases.items():
        url = make_manifest(
            root,
            LENGTHS,
            Settings(
                context=settings.context,
                packing=PACKING,
                epochs=epochs,
                phase=name,
                mask_rate=settings.mask_rate,
                tokenizer=sealed.digest,
            ),
        )
        described.append(RunPhase(name=name, manifest=store.relative(url), settings=settings))
    tokenizer = seal.save(store.url, sealed, tokenizer_json())
    made = Run(
        recipe="tests",
        seed=7,
        tokenizer=store.relative(tokenizer),
        heldout=_heldout(store, sealed),
        model=model,
        optimiser=Optimiser.model_validate({"precision": precision}),
        phases=tuple(described),
        start=RunStart(settings=start, digest=digest_of_weights(start.model)) if start else None,
        release=release,
    ).sealed()
    return run.publish(store, made)


@contextmanager
def alone(run_json: str | Path, draws: bool = False) -> Iterator[Session]:
    """A session in this process, which is the only rank; what it sets for the process is put back.

    One thread, since tests share cores; no report unless asked for, since drawing takes seconds.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    session = open_session(str(run_json), Ranks(0, 1, torch.device("cpu")), 300.0)
    drawn = (results.report, release.report)
    if not draws:
        undrawn()
    try:
        yield session
    finally:
        results.report, release.report = drawn
        if session.lock:
            session.lock.close()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        torch.set_num_threads(threads)


class FirstStep(NamedTuple):
    data: Phase
    batch: Batch
    gradients: dict[str, Tensor]  # by parameter
    figures: list[float]  # as `trainer.loop.train_step` gives them


def first_step(session: Session) -> FirstStep:
    """Of the run's one phase."""
    (phase,) = session.run.phases
    data = Phase(session.store.resolve(phase.manifest))
    learner, point = begin(session, phase)
    batch = next(batches(session, phase, data, point))
    seen = {}
    learner.optimiser.register_step_pre_hook(
        lambda *_: seen.update((n, p.grad.clone()) for n, p in learner.model.named_parameters())
    )
    figures = train_step(session, phase, data, learner, batch).tolist()
    return FirstStep(data, batch, seen, figures)


def undrawn() -> None:
    """Let this process train without drawing."""
    results.report = release.report = lambda session: None


def _heldout(store: Store, sealed: seal.Seal) -> str:
    strata = []
    for language in ("deu_Latn", "fao_Latn"):
        name = stratum.StratumName(source="fineweb2", language=language, tier="heldout")
        folder = stratum.stratum_folder(store, name, "0" * 16)
        meta = ShardMeta(sealed.digest, sealed.vocab_size, str(name))
        shard = write(folder, 0, 1, documents_of(str(name), [50, 120, 300, 35, 80, 64]), meta)
        part = HeldoutStratum(
            folder=store.relative(folder),
            source="fineweb2",
            language=language,
            documents=5,
            shards=(shard,),
        )
        strata.append(part)
    made = Heldout(
        tokenizer=sealed.digest,
        vocab_size=sealed.vocab_size,
        context=128,
        mask_rate=0.15,
        strata=tuple(strata),
    ).sealed()
    url = join(store.url, "heldout", f"{made.id}.json")
    write_json(url, made.model_dump(mode="json"))
    return store.relative(url)


def end(run_json: Path, name: str) -> None:
    """As the trainer leaves a phase, or the release, that is done, without a log."""
    model = run_json.parent / "models" / name
    model.mkdir(parents=True)
    if name == RELEASE:
        made = run.load(str(run_json)).release
        assert made is not None
        (model / RELEASED).write_text(made.model_dump_json())
