"""A run in the middle of its phase, which may go on with another mixture."""

from __future__ import annotations

import json
import shutil
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flows import going_on
from pipelines.describe import make_heldout, make_run
from pipelines.manifests import make_manifests, publish_manifest
from pipelines.remix import decide_remix
from schemas import manifest as manifests
from schemas import run as runs
from schemas.manifest import Manifest, Packing
from schemas.point import newest
from schemas.recipe import HeldOut, Optimiser, Recipe
from schemas.store import Store
from tests import corpora
from tests.building import build_store
from tests.runs import MODEL, alone
from trainer.loop import train
from trainer.phase import Phase

Row = tuple[int, int]  # stratum, number in it
Place = tuple[str, int, int]  # shard, document, start


class Begun(NamedTuple):
    """A run that has been trained up to somewhere in the middle of its phase."""

    recipe: Recipe
    store: Store
    run_json: Path

    @property
    def window(self) -> int:
        point = newest(self.run_json.parent / "checkpoints", "only")
        assert point
        return point.next_window

    def first(self) -> Manifest:
        return manifests.load(self.store.resolve(runs.load(str(self.run_json)).phases[0].manifest))

    def with_phase(self, **changes: object) -> Recipe:
        phase = self.recipe.phases["only"].model_copy(update=changes)
        return self.recipe.model_copy(update={"phases": {"only": phase}})

    def segment(self, recipe: Recipe, name: str) -> Manifest:
        """Mixed by `recipe` from where the run stands, and named."""
        standing = going_on.standing(self.store, recipe, "only", str(self.run_json))
        decided = decide_remix(recipe, "only", self.store, "mmbert data", standing)
        publish_manifest(self.store, decided, name)
        return decided.manifest

    def take_on(self, manifest: Manifest) -> None:
        """What `mmbert train --manifest only=NAME` does before it trains."""
        url = manifests.url_of(self.store, manifest)
        assert going_on.names_segment({"only": url})
        assert going_on.describe(self.recipe, self.store, {"only": url}) == str(self.run_json)

    def train(self, steps: int = 10**9) -> str:
        """On to the end, or until a signal at a step from here."""
        with alone(self.run_json) as session:
            done, tensor = count(1), session.wishes.tensor

            def told() -> object:
                session.wishes._stop = next(done) >= steps
                return tensor()

            session.wishes.tensor = told
            return train(session, session.run.phases)

    def digests(self) -> list[str]:
        """Of the plans of all windows, as the journal has them."""
        lines = self.run_json.with_name("journal.jsonl").read_text().splitlines()
        return [json.loads(line)["plan_digest"] for line in lines]


def begin_run(folder: Path) -> Begun:
    """Trained for seven steps."""
    root = corpora.write_corpus(folder / "raw", {"fao_Latn": 60, "isl_Latn": 120, "nah_Latn": 40})
    settings = {"languages": ("fao", "isl"), "pool_tokens": 10_000, "budget_tokens": 24_000}
    recipe = corpora.recipe(root, **settings).model_copy(
        update={
            "model": MODEL,
            "optimiser": Optimiser(precision="fp32"),
            "heldout": HeldOut(max_documents=3, min_documents=1, min_targets=1),
            "packing": Packing(pack_tokens=512, max_pieces=32, window_packs=4),
        }
    )
    built = build_store(recipe, folder / "store")
    made = make_manifests(recipe, built.store, built.seal, built.strata)
    _, heldout = make_heldout(recipe, built.store, built.seal, built.strata)
    urls = {name: url for name, (_, url) in made.items()}
    _, run_json = make_run(recipe, built.store, built.seal, heldout, urls)
    begun = Begun(recipe, built.store, Path(run_json))
    assert "stopped at only-" in begun.train(steps=7)
    assert 2 < begun.window < made["only"][0].windows - 4
    return begun


def copy_of(straight: Begun, tmp_path: Path) -> Begun:
    """The same run in a store of its own."""
    shutil.copytree(straight.store.url, tmp_path / "store")
    store = Store.at(str(tmp_path / "store"))
    run_json = straight.run_json.relative_to(straight.store.url)
    return straight._replace(store=store, run_json=tmp_path / "store" / run_json)


def rows_by_stratum(phase: Phase) -> dict[int, list[int]]:
    """The numbers of the rows that all windows deliver, in order."""
    found: dict[int, list[int]] = {}
    for window in range(phase.windows):
        plan = phase.plan(window)
        for stratum in np.unique(plan.stratum).tolist():
            mine = np.sort(plan.row[plan.stratum == stratum]).tolist()
            found.setdefault(stratum, []).extend(mine)
    return found


def places(phase: Phase, windows: range) -> dict[Row, Place]:
    """Where the rows lie that some windows deliver."""
    found = {}
    for window in windows:
        plan = phase.plan(window)
        shards = [f"{digest:016x}" for digest in plan.digests[plan.shard].tolist()]
        rows = zip(plan.stratum.tolist(), plan.row.tolist(), strict=True)
        where = zip(shards, plan.document.tolist(), plan.start.tolist(), strict=True)
        found |= dict(zip(rows, where, strict=True))
    return found
