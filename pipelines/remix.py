"""Remix: another mixture of strata that exist (invariant I11). It reads no text and no token,
but where evaluation texts or takedowns are listed that nobody looked for before.

In: a recipe whose mixture differs from the one that was built. Out: a manifest over the strata of
the phase's newest build. What they hold stands in one file (schemas/catalogue.py), and so does
what is excluded of them, so this takes less than a second at 1,833 languages.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.inventory import MULTILINGUAL, phase_codes, reads, share_key
from pipelines.manifests import Decided, decide_manifest
from pipelines.segments import Standing, decide_segment
from schemas import catalogue as catalogues
from schemas.catalogue import Catalogue, NewestBuild
from schemas.digest import Json
from schemas.errors import UserError
from schemas.recipe import Phase, Recipe
from schemas.seal import Seal, seal_folder
from schemas.store import Store, join, read_bytes

# Of a source, what is no matter of its strata.
BESIDE_TEXT = {"path", "licence", "licences", "attribution", "gated", "published_tokens"}
CHOOSE_HELDOUT = {"share", "max_documents", "min_stratum_documents"}


def decide_remix(
    recipe: Recipe, phase: str, store: Store, build: str, standing: Standing | None = None
) -> Decided:
    """The manifest of a phase as the recipe has it now; publishes nothing.

    It goes on from where a run is `standing`, or else begins with the phase. `build` is the command
    that builds what is missing. Raises UserError when the phase was never built, when the recipe
    asks for strata of another make or for some that nobody built, and for what `decide_manifest`
    or `decide_segment` refuse.
    """
    newest = catalogues.newest_build(store, recipe.name, phase)
    if newest is None:
        raise UserError(
            f"{store.url} has no strata of {recipe.name}/{phase} to mix anew; build them with "
            f"`{build}`"
        )
    _require_same_text(newest.recipe, recipe, build)
    catalogue = _open(store, newest, build)
    _require_built(newest.recipe, recipe, phase, catalogue, build)
    seal = _seal(store, catalogue)
    if standing is not None:
        return decide_segment(recipe, phase, store, seal, catalogue, standing)
    return decide_manifest(recipe, phase, store, seal, catalogue)


def _open(store: Store, newest: NewestBuild, build: str) -> Catalogue:
    try:
        return catalogues.load(store, newest.catalogue)
    except FileNotFoundError:
        raise UserError(
            f"{join(store.url, 'catalogues')} has lost {newest.catalogue}.arrow, which lists the "
            f"strata of {newest.recipe.name}; write it again with `{build}`"
        ) from None


def _seal(store: Store, catalogue: Catalogue) -> Seal:
    """Of the tokenizer that all strata of a build were made with."""
    folder = seal_folder(store.url, catalogue.strata[0].tokenizer)
    return Seal.model_validate_json(read_bytes(join(folder, "seal.json")))


def _require_same_text(built: Recipe, recipe: Recipe, build: str) -> None:
    """UserError when the recipe makes other strata of the same text."""
    then, now = dict(_text(built)), dict(_text(recipe))
    for key in then | now:
        if then.get(key) != now.get(key):
            raise UserError(
                f"{key} is not what the strata of {recipe.name} were built with, and a remix makes "
                f"none; take it back, or build with `{build}`"
            )


def _text(recipe: Recipe) -> Iterator[tuple[str, Json]]:
    """What of a recipe decides strata, whatever files it reads."""
    yield "seed", recipe.seed
    for table in (recipe.tokenizer, recipe.filters):
        name = "tokenizer" if table is recipe.tokenizer else "filters"
        for key, value in table.model_dump(mode="json").items():
            yield f"{name}.{key}", value
    for key, value in recipe.heldout.model_dump(mode="json", include=CHOOSE_HELDOUT).items():
        yield f"heldout.{key}", value
    for source, settings in recipe.sources.items():
        for key, value in settings.model_dump(mode="json", exclude=BESIDE_TEXT).items():
            yield f"sources.{source}.{key}", value


def _require_built(
    built: Recipe, recipe: Recipe, phase: str, catalogue: Catalogue, build: str
) -> None:
    """UserError when the phase reads what no phase of the build did, so that nobody looked for it.

    What the build looked for and did not find is absent, as it is in the build's own manifests.
    """
    sources = {stratum.name.source for stratum in catalogue.strata}
    there = {(s.name.source.split("/")[0], s.name.code) for s in catalogue.strata}
    wanted = recipe.phases[phase]
    codes = _codes(wanted)
    asked = [(p, _codes(p)) for p in built.phases.values()]
    missing = [
        f"{source}/{code}"
        for source in wanted.temperature_sources
        for code in sorted(codes)
        if reads(wanted, source, code, codes) == MULTILINGUAL
        and (source, code) not in there
        and not any(reads(p, source, code, theirs) for p, theirs in asked)
    ]
    for key, share in wanted.shares.items():
        looked_for = any(share_key(p, key) for p in built.phases.values())
        if share > 0 and key != MULTILINGUAL and not looked_for:
            missing += [key] * all(key not in (s, s.split("/")[0]) for s in sources)
    if missing:
        more = f" and {len(missing) - 8:,} more" if len(missing) > 8 else ""
        raise UserError(
            f"phases.{phase} asks for strata that were never built ({', '.join(missing[:8])}"
            f"{more}); build them with `{build}`"
        )


def _codes(phase: Phase) -> frozenset[str]:
    """The languages of a phase's temperature group, whether they are there or not."""
    return phase_codes("", phase, set(phase.languages))
