"""What a build would do: the ids of all that each origin's files decide, and which of it exists.

In: a recipe, a seal and the inventory. Out: a `BuildPlan`. Reads no text; hashes new local files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from pipelines.fingerprint import fingerprints
from pipelines.imported import choose, require_imported
from pipelines.inventory import Origin, wanted
from pipelines.map import MapFile
from pipelines.publish import PlannedStratum
from schemas import stratum as strata
from schemas.digest import Json, content_id
from schemas.recipe import Recipe
from schemas.seal import Seal
from schemas.store import Store, join
from schemas.stratum import HELDOUT, TRAIN, Stratum, StratumName

STEP_VERSION = 6  # of map, decide and reduce; bumped when what they make of a file changes


@dataclass(frozen=True)
class OriginPlan:
    """An origin with the ids of all that its files decide."""

    origin: Origin
    files: tuple[MapFile, ...]
    strata: tuple[PlannedStratum, ...]  # training, the lowest tier first, and held-out
    bounds: tuple[float, ...] = ()  # least scores of its tiers, the lowest first

    @property
    def grouped(self) -> bool:
        return is_grouped(self.origin)


@dataclass(frozen=True)
class BuildPlan:
    """What a build would do: strata that exist, and origins whose strata do not."""

    reused: tuple[Stratum, ...]
    to_build: tuple[OriginPlan, ...]

    @property
    def num_bytes(self) -> int:
        """Of raw files that must be read."""
        return sum(plan.origin.size_bytes for plan in self.to_build)


def is_grouped(origin: Origin) -> bool:
    """Whether held-out text must be chosen, since the source ships no test split."""
    return not any(file.split == "test" for file in origin.files)


@cache  # the metadata of a library takes a millisecond to read, and every origin asks
def versions() -> dict[str, Json]:
    """Everything beside the recipe that decides bytes: the libraries that touch text and files."""
    return {"step": STEP_VERSION} | {
        name: version(name)
        for name in ("tokenizers", "ftfy", "numpy", "pyarrow", "regex", "rensa", "xxhash")
    }


def plan_build(recipe: Recipe, store: Store, sealed: Seal, origins: Sequence[Origin]) -> BuildPlan:
    """Which strata exist and which origins must be built; reads no text, hashes new files.

    Imported strata exist; UserError when a source has none, or two of one tier.
    """
    origins = wanted(recipe, origins)
    require_imported(recipe, store, origins, sealed)
    digests = fingerprints(store, (f for o in origins for f in o.files))
    probes = _probes(recipe)
    reused: list[Stratum] = []
    to_build: list[OriginPlan] = []
    for origin in origins:
        if origin.imported:
            reused += choose(origin, sealed)
            continue
        plan = _plan_origin(recipe, store, sealed, origin, digests, probes)
        found = [s for planned in plan.strata if (s := strata.load(planned.folder)) is not None]
        if len(found) == len(plan.strata):
            reused += found
        else:
            to_build.append(plan)
    return BuildPlan(tuple(reused), tuple(to_build))


def _probes(recipe: Recipe) -> dict[str, str]:
    """The digest of each source's probe."""
    from pipelines.probe import Probe

    folders = {name: source.probe for name, source in recipe.sources.items() if source.probe}
    return {name: Probe.load(folder).digest for name, folder in folders.items()}


def _plan_origin(
    recipe: Recipe,
    store: Store,
    sealed: Seal,
    origin: Origin,
    digests: dict[str, str],
    probes: dict[str, str],
) -> OriginPlan:
    source_name = origin.source.split("/")[0]
    source = recipe.sources[source_name]
    probe = (source.probe, probes[source_name]) if source.probe else None
    used = tuple(name for name in recipe.filters.use if name not in source.skip)
    filters = recipe.filters.model_copy(update={"use": used})
    grouped = is_grouped(origin)
    shared: dict[str, Json] = {
        "source": origin.source,
        "language": origin.language,
        "format": source.format,
        "min_score": source.least_score,
        "filters": filters.model_dump(mode="json"),
        "seed": recipe.seed,
        "tokenizer": sealed.digest,
        "versions": versions(),
        "grouped": grouped,
    }
    if probe:
        shared["probe"] = [probe[1], version("torch"), version("transformers")]
    if source.format == "documents":
        shared["fields"] = source.fields.model_dump(mode="json")
    files = []
    for index, file in enumerate(origin.files):
        identity = content_id(shared | {"file": file.relative, "digest": digests[file.url]})
        files.append(
            MapFile(
                file=file,
                file_index=index,
                source=origin.source,
                layout=source.format,
                fields=source.fields,
                language=origin.language,
                min_score=source.least_score,
                filters=filters,
                probe=probe,
                grouped=grouped and file.split == "train",
                spill_id=identity,
                folder=join(store.url, "spills", identity),
            )
        )
    chosen = ("share", "max_documents", "min_stratum_documents")
    made_from = shared | {
        "files": [[f.relative, f.split, digests[f.url]] for f in origin.files],
        "heldout": {key: getattr(recipe.heldout, key) for key in chosen} if grouped else None,
    }
    if source.tiers:
        made_from["tiers"] = dict(source.bounds)
    to_read: dict[str, str | int | float | bool | None] = {
        "files": content_id(made_from["files"]),
        "num_files": len(origin.files),
        "filters": content_id(shared["filters"]),
        "versions": content_id(shared["versions"]),
        "tokenizer": sealed.digest,
        "seed": recipe.seed,
        "min_score": source.least_score,
        "licence": source.licence_of(origin.source),
        "attribution": source.attribution,
    }
    if origin.revision:
        to_read["revision"] = origin.revision
    if "probe" in shared:
        to_read["probe"] = content_id(shared["probe"])
    if source.tiers:
        to_read["tiers"] = content_id(made_from["tiers"])
    if "fields" in shared:
        to_read["fields"] = content_id(shared["fields"])
    planned: list[PlannedStratum] = []
    # The lowest tier comes first: it answers for whatever was read, the others for what it gave up.
    tiers = [*source.bounds] or [TRAIN]
    trained = any(f.split == "train" for f in origin.files)
    for tier in [*(tiers if trained else []), HELDOUT]:
        name = StratumName(source=origin.source, language=origin.language, tier=tier)
        identity = strata.stratum_id(name, made_from)
        moved = ("held_out" if grouped else "") if tier == HELDOUT else f"tier_{tier}"
        planned.append(
            PlannedStratum(
                name=name,
                id=identity,
                folder=strata.stratum_folder(store, name, identity),
                scratch=join(store.url, "spills", f"gather-{identity}"),
                made_from=to_read,
                moved=moved if planned else "",
            )
        )
    return OriginPlan(origin, tuple(files), tuple(planned), tuple(source.bounds.values()))
