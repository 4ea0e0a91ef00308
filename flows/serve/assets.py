"""A published mixture as an asset: an event that an automation can start a training from.

    event       prefect.asset.materialization.succeeded
    resource    prefect.resource.id      mmbert://manifest/RECIPE/PHASE/NAME
                prefect.asset.url        the manifest
                mmbert.recipe            what `train` takes as its recipe: a name, a path or a URL
                mmbert.overrides         what `train` lays over it, a JSON list of KEY=VALUE
                mmbert.profile           its name or path
                mmbert.phase, mmbert.name, mmbert.store, mmbert.manifest (its id)

`train` takes them as parameters: {"recipe_file": recipe, "overrides": [...], "profile": profile,
"mixtures": ["PHASE=NAME"], "store": store}, where NAME is `main` for what a build makes. Only a
mixture that is new is told of: one that a build finds in the store, under the same name, starts
nothing; nor does a remix that starts its training itself.
"""

from __future__ import annotations

import json

from flows.job import Job
from flows.orchestrate import in_flow_run
from schemas.manifest import Manifest

PUBLISHED = "prefect.asset.materialization.succeeded"


def key_of(recipe: str, phase: str, name: str) -> str:
    """The asset of a phase's mixture of a name; `recipe` is the name in the recipe itself."""
    return f"mmbert://manifest/{recipe}/{phase}/{name}"


def labels(manifest: Manifest, url: str, name: str, job: Job, profile: str) -> dict[str, str]:
    """What the event's resource says; `job` is that of a training with the mixture."""
    return {
        "prefect.resource.id": key_of(manifest.recipe, manifest.phase, name),
        "prefect.resource.name": f"{manifest.recipe}/{manifest.phase}/{name}",
        "prefect.asset.url": url,
        "mmbert.recipe": job.recipe,
        "mmbert.overrides": json.dumps(job.overrides),
        "mmbert.profile": profile,
        "mmbert.phase": manifest.phase,
        "mmbert.name": name,
        "mmbert.store": job.at().url,
        "mmbert.manifest": manifest.id,
    }


def announce(manifest: Manifest, url: str, name: str, job: Job, profile: str) -> None:
    """Tell the server of a mixture that was published."""
    if not in_flow_run():
        return
    from prefect.events import emit_event

    emit_event(PUBLISHED, resource=labels(manifest, url, name, job, profile))
