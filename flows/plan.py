"""The plan: what a recipe would reuse, build and deliver, before any of it is done.

Once all strata exist it is exact: the very manifests that `mmbert data` would publish. Before, it
is an estimate (flows/estimate.py) and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import fsspec

from flows.estimate import LanguagePlan, PhasePlan, estimated, seconds
from flows.job import Job
from flows.stages import trained_phases
from pipelines.build import BuildPlan, OriginPlan, plan_build
from pipelines.describe import describe_heldout, describe_run, heldout_url
from pipelines.inventory import Origin, inventory, wanted
from pipelines.manifests import decide_manifest
from pipelines.tokenizer import find
from schemas import manifest as manifests
from schemas import run as runs
from schemas import stratum as strata
from schemas.digest import Json
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from schemas.store import Store, exists, join, local_path


@dataclass(frozen=True)
class Plan:
    recipe: Recipe
    origins: tuple[Origin, ...]  # that some phase reads
    unread: frozenset[str]  # languages that the sources have and no phase names
    build: BuildPlan | None  # None before there is a tokenizer
    retokenised: int  # origins with strata of another tokenizer, when this one is to be trained
    changed: dict[str, str]  # strata that exist in another form, and what has changed since
    phases: tuple[PhasePlan, ...]
    run_url: str | None  # None as long as the plan is an estimate
    done: frozenset[str]  # phases that are trained
    seconds: float

    @property
    def trained(self) -> bool:
        return self.done.issuperset(self.recipe.phases)

    @property
    def exact(self) -> bool:
        return self.run_url is not None

    def public(self) -> dict[str, Json]:
        """The object that --json prints; `estimated` says that strata are still to be built."""
        phases: list[Json] = [
            {
                "name": phase.name,
                "pool_tokens": phase.pool_tokens,
                "budget_tokens": phase.budget_tokens,
                "languages": [dict(vars(language)) for language in phase.languages],
                "absent": [absence.model_dump() for absence in phase.absent],
            }
            for phase in self.phases
        ]
        return {"recipe": self.recipe.name, "estimated": not self.exact, "phases": phases}


def make_plan(job: Job) -> Plan:
    """Raises UserError for whatever of the recipe and its inputs is wrong already."""
    recipe, store = job.load(), job.at()
    found = inventory(recipe)
    origins = wanted(recipe, found)
    seal = find(recipe, store, origins)
    recipe = job.chosen(recipe)
    origins = wanted(recipe, origins)
    unread = frozenset({o.code for o in found} - {o.code for o in origins})
    build = plan_build(recipe, store, seal, origins) if seal else None
    if seal is None or build is None or build.to_build:
        size = build.num_bytes if build else sum(origin.size_bytes for origin in origins)
        changed = _changes(store, build.to_build if build else ())
        phases = tuple(estimated(recipe, name, origins) for name in recipe.phases)
        left = seconds(recipe, recipe.phases, size, job.profile)
        retokenised = 0 if build else sum(_has_strata(store, origin) for origin in origins)
        return Plan(
            recipe, origins, unread, build, retokenised, changed, phases, None, frozenset(), left
        )

    made = {
        name: decide_manifest(recipe, name, store, seal, build.reused)[0] for name in recipe.phases
    }
    heldout = describe_heldout(recipe, store, seal, build.reused)
    urls = {name: manifests.url_of(store, manifest) for name, manifest in made.items()}
    run = describe_run(recipe, store, seal, heldout_url(store, heldout), urls)
    run_url = runs.url_of(store, run)
    run_json = local_path(run_url)
    done = frozenset(trained_phases(run_json) if run_json else ())
    phases = tuple(_exact(manifest) for manifest in made.values())
    left = seconds(recipe, recipe.phases.keys() - done, 0, job.profile)
    return Plan(recipe, origins, unread, build, 0, {}, phases, run_url, done, left)


def _exact(manifest: Manifest) -> PhasePlan:
    languages = (
        LanguagePlan(share.language, share.tokens, share.rows, share.epochs)
        for share in manifest.languages
    )
    return PhasePlan(
        manifest.phase,
        manifest.pool_tokens,
        manifest.budget_tokens,
        tuple(languages),
        manifest.absent,
    )


def _has_strata(store: Store, origin: Origin) -> bool:
    return exists(join(store.url, "strata", origin.source, origin.language))


def _changes(store: Store, to_build: Sequence[OriginPlan]) -> dict[str, str]:
    """What has changed of each stratum that was built before, from something else."""
    changes: dict[str, str] = {}
    for planned in (planned for plan in to_build for planned in plan.strata):
        fs, folder = fsspec.core.url_to_fs(join(store.url, "strata", str(planned.name)))
        for earlier in fs.glob(f"{folder}/*/stratum.json"):
            found = strata.load(fs.unstrip_protocol(earlier).rsplit("/", 1)[0])
            if found is not None:
                keys = found.made_from.keys() | planned.made_from.keys()
                differ = (k for k in keys if found.made_from.get(k) != planned.made_from.get(k))
                changes[str(planned.name)] = ", ".join(sorted(differ))
    return changes
