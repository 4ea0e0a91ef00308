"""`mmbert doctor [RECIPE]`: looks at this machine and says of each problem what mends it.

`register(app)` adds it to the command line; heavy imports wait until it runs.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from flows.options import AsJson, ProfileStore, Set


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("doctor")(doctor)


def doctor(
    recipe: Annotated[
        str | None, typer.Argument(help="Look at what this recipe needs, too.")
    ] = None,
    on: Annotated[str, typer.Option("--on", metavar="PROFILE", help="Where things run.")] = "local",
    store: ProfileStore = None,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Versions, devices, tokenizer, inputs, store, disk, server: what is wrong, what mends it."""
    from flows.console import console
    from flows.doctor import examine
    from flows.job import Job, choose_store, load_profile

    console.leave_stdout(as_json)
    profile = load_profile(on)
    job = Job(
        recipe=recipe or "tiny",
        overrides=tuple(overrides or ()),
        store=choose_store(store, profile),
        profile=profile,
    )
    findings = []
    for finding in examine(job, recipe=recipe is not None):
        findings.append(finding)
        console.verdict(finding.state, finding.name, finding.told, finding.mend)
    problems = sum(finding.state == "problem" for finding in findings)
    if as_json:
        told = [finding.model_dump() for finding in findings]
        print(json.dumps({"ok": not problems, "findings": told}))
    elif problems:
        console.say(f"{problems} problems" if problems > 1 else "1 problem")
    if problems:
        raise typer.Exit(1)
