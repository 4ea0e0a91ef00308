"""Runs a build in a test: tokenizer, strata, and what lies on disk afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipelines.build import build
from pipelines.build_plan import plan_build
from pipelines.inventory import inventory
from pipelines.tokenizer import prepare
from schemas.profile import IN_PROCESS, Beam, Workers
from schemas.recipe import Recipe
from schemas.seal import Seal
from schemas.store import Store
from schemas.stratum import Stratum


@dataclass(frozen=True)
class Built:
    store: Store
    seal: Seal
    strata: tuple[Stratum, ...]
    num_new: int  # origins that had to be built

    def stratum(self, name: str) -> Stratum:
        return next(s for s in self.strata if str(s.name) == name)


def build_store(
    recipe: Recipe, folder: Path | str, workers: int | Workers = 1, beam: Beam = IN_PROCESS
) -> Built:
    store = Store.at(str(folder))
    origins = inventory(recipe)
    seal = prepare(recipe, store, origins)
    plan = plan_build(recipe, store, seal, origins)
    where = workers if isinstance(workers, Workers) else Workers(workers=workers)
    strata = build(recipe, store, seal, plan, where, beam)
    return Built(store, seal, strata, len(plan.to_build))


def files_of(folder: Path) -> dict[str, str]:
    """Relative name -> sha256 of every file under a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
