"""A published mixture as an asset: an event that an automation can start a training from.

    event       prefect.asset.materialization.succeeded
    resource    prefect.resource.id      mmbert://manifest/RECIPE/PHASE/NAME
                prefect.asset.url        the manifest
                mmbert.recipe            what `train` takes as its recipe: a name, a path or a URL
                mmbert.phase, mmbert.name, mmbert.store, mmbert.manifest (its id)

`train` takes them as parameters: {"recipe_file": recipe, "mixtures": ["PHASE=NAME"], "store":
store}, where NAME is `main` for what a build makes. Only a mixture that is new is told of: one that
a build finds in the store, under the same name, starts nothing.
"""

from __future__ import annotations

from flows.orchestrate import in_flow_run
from schemas.manifest import Manifest

PUBLISHED = "prefect.asset.materialization.succeeded"


def key_of(recipe: str, phase: str, name: str) -> str:
    """The asset of a phase's mixture of a name; `recipe` is the name in the recipe itself."""
    return f"mmbert://manifest/{recipe}/{phase}/{name}"


def announce(manifest: Manifest, url: str, name: str, recipe: str, store_url: str) -> None:
    """Tell the server of a mixture that was published; `recipe` is how `train` can find it."""
    if not in_flow_run():
        return
    from prefect.events import emit_event

    emit_event(
        PUBLISHED,
        resource={
            "prefect.resource.id": key_of(manifest.recipe, manifest.phase, name),
            "prefect.resource.name": f"{manifest.recipe}/{manifest.phase}/{name}",
            "prefect.asset.url": url,
            "mmbert.recipe": recipe,
            "mmbert.phase": manifest.phase,
            "mmbert.name": name,
            "mmbert.store": store_url,
            "mmbert.manifest": manifest.id,
        },
    )
