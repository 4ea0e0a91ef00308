"""What is wrong here, before anything is started: `mmbert doctor [RECIPE]`.

In: a job (recipe, store, profile) and this machine. Out: findings, each ok, a warning or a
problem, with what mends it. Nothing is changed: the store gets a probe file that goes again at
once. It takes seconds and needs no network; what cannot be reached is told so.

    packages.py   Python, versions and pins, whether Prefect's server can be imported
    machine.py    cores, memory, GPUs, what attends
    recipe.py     the recipe, its tokenizer and inputs, disk against what it needs
    place.py      store, cache, what the profile asks this machine for
    server.py     a Prefect server, its work pool and workers
"""

from __future__ import annotations

from collections.abc import Iterator

from flows.doctor.finding import Finding
from flows.job import Job


def examine(job: Job, recipe: bool) -> Iterator[Finding]:
    """Findings, as they are made. `recipe`: whether one was named, and is looked at as well."""
    from flows.doctor import machine, packages, place, server
    from flows.doctor.recipe import recipe_findings

    with packages.import_of_prefect() as prefect:
        yield from packages.package_findings()
        yield from machine.machine_findings()
        yield from place.place_findings(job)
        if recipe:
            yield from recipe_findings(job)
        yield from server.server_findings(job.at())
        yield prefect()
