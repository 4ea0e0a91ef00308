"""`--manifest P=NAME`: phases that train with a mixture of another name than the recipe's own.

In: a recipe and the names. Out: where those manifests lie, and the recipe with what they hold in
place of what it says of these phases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from flows.artifacts import show_mixture
from flows.console import console
from schemas import manifest as manifests
from schemas.errors import UserError, did_you_mean
from schemas.find_manifest import named_manifest, names_of
from schemas.recipe import Phase, Recipe
from schemas.seal import require_same
from schemas.store import Store

OF_MANIFEST = (
    "context",
    "mask_rate",
    "tau",
    "tau_end",
    "max_epochs",
    "min_tokens",
    "weight_by",
    "pool_tokens",
    "budget_tokens",
)


READ = ("languages", "strict", "temperature_sources", "tiers", "shares")  # by a mixture


def parse(texts: Sequence[str]) -> dict[str, str]:
    """`P=NAME` -> phase: name; UserError for anything else."""
    named = {}
    for text in texts:
        phase, _, name = text.partition("=")
        if not phase or not name:
            raise UserError(f"mixture {text}: give PHASE=NAME, as in extend=flatter")
        named[phase] = name
    return named


def find(recipe: Recipe, store: Store, named: Mapping[str, str]) -> dict[str, str]:
    """phase -> URL of the manifest that is named for it; UserError when there is none."""
    urls = {}
    for phase, name in named.items():
        if phase not in recipe.phases:
            raise UserError(
                f"mixture {phase}={name}: recipe {recipe.name} has the phases "
                f"{', '.join(recipe.phases)}; name one of these"
            )
        url = named_manifest(store, recipe.name, phase, name)
        if url is None:
            names = names_of(store, recipe.name, phase)
            known = ", ".join(names) or "none"
            raise UserError(
                f"mixture {phase}={name}: {store.url} has none of this name of {recipe.name}/"
                f"{phase}, there are: {known}{did_you_mean(name, names)}; make it with "
                f"`mmbert remix {recipe.name} --phase {phase} --name {name}`"
            )
        urls[phase] = url
    return urls


def show(urls: Mapping[str, str], named: Mapping[str, str]) -> None:
    """Tell and publish the mixtures that some phases train with instead of their own."""
    for phase, url in urls.items():
        manifest = manifests.load(url)
        console.say(f"    {phase:<10} {manifest.id[:12]}: {named[phase]}, instead of its own")
        show_mixture(manifest, url)


def with_mixtures(recipe: Recipe, urls: Mapping[str, str], tokenizer: str) -> Recipe:
    """The recipe with context, budget and the like as the manifests of some phases have them.

    Raises UserError for a manifest over strata of another tokenizer, and for a schedule that does
    not fit its budget.
    """
    phases = dict(recipe.phases)
    for name, url in urls.items():
        manifest = manifests.load(url)
        require_same(manifest.tokenizer, tokenizer, url)
        held = {key: getattr(manifest, key) for key in OF_MANIFEST}
        try:
            phases[name] = Phase.model_validate(phases[name].model_dump() | held)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise UserError(
                f"phases.{name} does not fit its manifest {manifest.id}: {reason}"
            ) from error
    return recipe.model_copy(update={"phases": phases})
