"""A small store with everything that the viewer shows, and texts in it that mean harm.

Two languages and a source whose documents are named like scripts; three mixtures of one phase; a
run of `main` with a log, a report and a model's card, as the trainer leaves them; one of `flatter`
that has not begun.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.card import write_card
from pipelines.describe import make_heldout, make_run
from pipelines.manifests import make_manifest
from schemas import manifest as manifests
from schemas.find_manifest import MAIN
from schemas.manifest import Manifest
from schemas.store import Store, join, write_bytes
from tests import corpora
from tests.building import build_store

SCRIPT = "<script>alert(1)</script>"
NUM_STEPS = 30


@dataclass(frozen=True)
class Viewed:
    """What lies where, as paths below the store."""

    store: Store
    before: str  # the folder of the mixture `main`
    after: str  # of the mixture `flatter`
    last: str  # of the mixture `steeper`
    run: str
    stratum: str  # a folder; its documents have SCRIPT for names
    shard: str
    title: str


def make_viewed(raw: Path, url: str) -> Viewed:
    """Raw text below `raw`, the store at `url`."""
    root = corpora.write_corpus(raw, {"fao_Latn": 40, "isl_Latn": 20})
    english = corpora.sentences("hostile", 40)
    lines = [corpora.dclm_line(text, f"{SCRIPT}{i}") for i, text in enumerate(english)]
    corpora.write_dclm(root / "dclm", lines)
    title = f"Tests {SCRIPT}"
    recipe = corpora.recipe(root).model_copy(update={"title": title})
    built = build_store(recipe, url)
    store = built.store
    manifest, manifest_url = make_manifest(recipe, "only", store, built.seal, built.strata)
    manifests.name_manifest(store, manifest, MAIN)
    write_card(manifest_url, manifest, {s.id: s for s in built.strata})
    others = {}
    for name, tau in (("flatter", 0.1), ("steeper", 0.9)):
        other = changed(manifest, tau)
        others[name] = manifests.publish(store, other, manifests.load_shards(manifest_url))
        manifests.name_manifest(store, other, name)
    _, heldout_url = make_heldout(recipe, store, built.seal, built.strata)
    urls = {"only": manifest_url}
    _, run_url = make_run(recipe, store, built.seal, heldout_url, urls)
    make_run(recipe, store, built.seal, heldout_url, {"only": others["flatter"]})
    folder = run_url.rsplit("/", 1)[0]
    write_bytes(join(folder, "log.jsonl"), log(manifest.budget_tokens).encode())
    write_bytes(join(folder, "report", "index.html"), b"<!doctype html><p>report</p>")
    write_bytes(join(folder, "models", "only", "README.md"), b"# card\n")
    stratum = built.stratum("dclm/eng_Latn/all")
    place = f"strata/{stratum.name}/{stratum.id}"
    return Viewed(
        store,
        store.relative(manifest_url).removesuffix("/manifest.json"),
        store.relative(others["flatter"]).removesuffix("/manifest.json"),
        store.relative(others["steeper"]).removesuffix("/manifest.json"),
        store.relative(folder),
        place,
        f"{place}/{stratum.shards[0].name}",
        title,
    )


def changed(manifest: Manifest, tau: float) -> Manifest:
    """The same languages, at this tau and in equal parts."""
    part = 1 / len(manifest.languages)
    shares = tuple(s.model_copy(update={"weight": part}) for s in manifest.languages)
    return manifest.model_copy(update={"languages": shares, "tau": tau}).sealed()


def log(budget: int) -> str:
    """Steps and scores of a phase `only`, as the trainer writes them."""
    lines: list[dict[str, object]] = [scored("untrained", 0, 0, 5.0)]
    for step in range(1, NUM_STEPS + 1):
        tokens = budget * step // NUM_STEPS
        lines.append(
            {"kind": "step", "phase": "only", "step": step, "tokens": tokens}
            | {"loss": 6 - step / 10, "lr": 1e-3, "tokens_per_s": 1234.0, "eta_s": 1.0}
        )
        if step % 10 == 0:
            lines.append(scored("only", step, tokens, 5 - step / 10))
    return "".join(json.dumps(line) + "\n" for line in lines)


def scored(phase: str, step: int, clock: int, bits: float) -> dict[str, object]:
    languages = {
        code: {"bits_per_byte": bits + i / 10, "targets": 100 - i}
        for i, code in enumerate(("eng", "fao", "isl"))
    }
    return {
        "kind": "heldout",
        "phase": phase,
        "step": step,
        "clock": clock,
        "macro": bits,
        "languages": languages,
    }
