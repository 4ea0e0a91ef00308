"""The plan: what a recipe would reuse, build and deliver, before any of it is done.

Once all strata exist it is exact: the very manifests that `mmbert data` would publish. Before, it
is an estimate (flows/estimate.py) and says so; a source that cannot be had is then planned from its
published sizes, so that a plan needs neither data nor a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import fsspec

from flows import cost
from flows.estimate import LanguagePlan, PhasePlan, estimated, reading
from flows.inputs import ELSEWHERE, Missing, missing_inputs, refuse
from flows.job import Job, Profile
from flows.supply import MANY, Supply, has_published_sizes, measured, published
from pipelines.build_plan import BuildPlan, OriginPlan, plan_build
from pipelines.describe import describe_heldout, describe_run, heldout_url
from pipelines.difference import compare
from pipelines.imported import imported, require_imported
from pipelines.inventory import Origin, inventory, wanted_of
from pipelines.manifests import decide_manifests
from pipelines.tokenizer import find
from schemas import manifest as manifests
from schemas import run as runs
from schemas import stratum as strata
from schemas.catalogue import catalogue_of
from schemas.digest import Json
from schemas.errors import UserError
from schemas.find_manifest import MAIN, named_manifest
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from schemas.run import Run
from schemas.seal import Seal
from schemas.store import Store, exists, join, local_path


@dataclass(frozen=True)
class Plan:
    recipe: Recipe
    profile: Profile
    missing: tuple[Missing, ...]  # inputs that cannot be had from here
    supplies: tuple[Supply, ...]  # that some phase reads
    unread: frozenset[str]  # languages that the sources have and no phase names
    build: BuildPlan | None  # None while inputs are missing or there is no tokenizer
    retokenised: int  # origins with strata of another tokenizer, when this one is to be trained
    changed: dict[str, str]  # strata that exist in another form, and what has changed since
    phases: tuple[PhasePlan, ...]
    mixed: frozenset[str] = frozenset()  # phases whose manifest exists
    remixed: dict[str, str] = field(
        default_factory=dict
    )  # phases mixed otherwise before: what changed
    done: frozenset[str] = frozenset()  # phases that are trained, and `release` where it is made
    exact: bool = False  # no estimate: all strata that its phases read exist
    vocab_size: int | None = None  # of its tokenizer, where that is known
    run_url: str | None = None  # of the recipe's run; None as long as that cannot be told

    @property
    def trained(self) -> bool:
        return self.done.issuperset({*self.recipe.phases, self.recipe.released})

    @property
    def tokens(self) -> int:
        """Of the strata that phases read, whole: as built, or as estimated."""
        if self.build and not self.build.to_build:
            return sum(stratum.tokens for stratum in self.build.reused)
        return sum(supply.tokens for supply in self.supplies)

    @property
    def num_bytes(self) -> int:
        """Of raw text that is still to be read."""
        return self.build.num_bytes if self.build else sum(s.num_bytes for s in self.supplies)

    @property
    def operations(self) -> float:
        """Floating-point operations of the training that is still to be done."""
        left = self.recipe.phases.keys() - self.done
        return cost.operations(self.recipe, left, self.vocab_size)

    @property
    def seconds(self) -> float:
        """On this machine."""
        return cost.seconds_here(self.operations, self.num_bytes, self.profile)

    def _strata(self) -> dict[str, Json] | None:
        """What is reused, built and rebuilt, and why; None while that cannot be told."""
        if self.build is None:
            return None
        to_build = [str(s.name) for origin in self.build.to_build for s in origin.strata]
        return {
            "reused": len(self.build.reused),
            "new": sorted(set(to_build) - self.changed.keys()),
            "rebuilt": self.changed,
            "bytes_to_read": self.num_bytes,
        }

    def public(self) -> dict[str, Json]:
        """The object that --json prints; `estimated` says that strata are still to be built."""
        phases: list[Json] = [
            {
                "name": phase.name,
                "pool_tokens": phase.pool_tokens,
                "budget_tokens": phase.budget_tokens,
                "languages": [dict(vars(language)) for language in phase.languages],
                "absent": [absence.model_dump() for absence in phase.absent],
                "doubt": phase.doubt,
            }
            for phase in self.phases
        ]
        return {
            "recipe": self.recipe.name,
            "estimated": not self.exact,
            "missing": [dict(vars(missing)) for missing in self.missing],
            "published": sorted({s.source for s in self.supplies if s.published}),
            "phases": phases,
            "strata": self._strata(),
            "shard_bytes": self.tokens * cost.BYTES_PER_TOKEN,
            "build_hours": cost.build_seconds(self.num_bytes) / 3600,
            "gpu_hours": cost.gpu_hours(self.operations),
        }


def make_plan(job: Job) -> Plan:
    """Raises UserError for whatever of the recipe and its inputs is wrong already."""
    whole, store = job.load(), job.at()
    recipe = job.chosen(whole)
    missing = missing_inputs(whole)
    lost = {m.source: m for m in missing if m.source is not None}
    needed = [m for name, m in lost.items() if not has_published_sizes(whole.sources[name])]
    refuse(needed, ELSEWHERE)

    there = {name: source for name, source in whole.sources.items() if name not in lost}
    present = whole.model_copy(update={"sources": there})
    origins = (*inventory(present), *imported(present, store))
    require_imported(present, store, origins)
    told = [s for name in lost for s in published(name, whole.sources[name])]
    supplies = (*measured(origins), *told)
    phases = recipe.phases.items()
    read = {s: None for name, phase in phases for s, _ in reading(name, phase, supplies)}
    unread = {s.code for s in supplies if s.language != MANY} - {s.code for s in read}

    seal = None if missing else find(whole, store, wanted_of(whole, origins))
    build = plan_build(recipe, store, seal, origins) if seal else None
    if seal is None or build is None or build.to_build:
        wanted = wanted_of(recipe, origins)
        retrained = build is None and recipe.tokenizer.train is not None
        return Plan(
            recipe,
            job.profile,
            missing,
            tuple(read),
            frozenset(unread),
            build,
            sum(_has_strata(store, origin) for origin in wanted) if retrained else 0,
            _changes(store, build.to_build if build else ()),
            tuple(estimated(recipe, name, supplies) for name in recipe.phases),
            vocab_size=seal.vocab_size if seal else None,
        )

    decided = decide_manifests(recipe, store, seal, catalogue_of(build.reused))
    made = {name: phase.manifest for name, phase in decided.items()}
    run = (
        _describe(whole, store, seal, build, made)
        if job.phase is None
        else _find_run(whole, store, seal, origins)
    )
    run_url = runs.url_of(store, run) if run else None
    run_json = local_path(run_url) if run_url else None
    return Plan(
        recipe,
        job.profile,
        missing,
        tuple(read),
        frozenset(unread),
        build,
        retokenised=0,
        changed={},
        phases=tuple(_exact(manifest) for manifest in made.values()),
        mixed=frozenset(n for n, m in made.items() if exists(manifests.url_of(store, m))),
        remixed=dict(_remixed(store, made)),
        done=frozenset(runs.made_models(run_json.parent, run) if run and run_json else ()),
        exact=True,
        vocab_size=seal.vocab_size,
        run_url=run_url,
    )


def _describe(
    whole: Recipe, store: Store, seal: Seal, build: BuildPlan, made: Mapping[str, Manifest]
) -> Run:
    """The run that `mmbert data` would write of all phases."""
    urls = {name: manifests.url_of(store, manifest) for name, manifest in made.items()}
    heldout = describe_heldout(whole, store, seal, build.reused)
    return describe_run(whole, store, seal, heldout_url(store, heldout), urls)


def _find_run(whole: Recipe, store: Store, seal: Seal, origins: Sequence[Origin]) -> Run | None:
    """The run in which a phase that is planned alone is trained: that of all phases.

    None while strata of other phases are still to be built, or what they ask for cannot be met.
    """
    try:
        build = plan_build(whole, store, seal, origins)
        if build.to_build:
            return None
        decided = decide_manifests(whole, store, seal, catalogue_of(build.reused))
        made = {name: phase.manifest for name, phase in decided.items()}
        return _describe(whole, store, seal, build, made)
    except UserError:  # of a phase that was not asked about
        return None


def _remixed(store: Store, made: Mapping[str, Manifest]) -> Iterator[tuple[str, str]]:
    """The phases that were mixed before and would be mixed otherwise now, and what has changed."""
    for name, manifest in made.items():
        earlier = named_manifest(store, manifest.recipe, name, MAIN)
        if earlier is None or exists(manifests.url_of(store, manifest)):
            continue
        found = compare(manifests.load(earlier), manifest)
        changes = [setting.name for setting in found.settings if setting.name != "windows"]
        changes += [f"{len(codes)} languages {what}" for what, codes in found.moves if codes]
        yield name, ", ".join(changes) or "its strata"


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
        there = fs.glob(f"{folder}/*/stratum.json")
        if any(path.endswith(f"/{planned.id}/stratum.json") for path in there):
            continue  # another stratum of its origin is missing
        for earlier in sorted(there, key=fs.modified):  # the newest says it last
            found = strata.load(fs.unstrip_protocol(earlier).rsplit("/", 1)[0])
            if found is not None:
                keys = found.made_from.keys() | planned.made_from.keys()
                differ = (k for k in keys if found.made_from.get(k) != planned.made_from.get(k))
                changes[str(planned.name)] = ", ".join(sorted(differ))
    return changes
