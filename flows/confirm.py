"""Asking before something large: on a terminal a question, elsewhere `--yes` or nothing."""

from __future__ import annotations

import sys

import typer

from flows import cost
from flows.job import Job
from schemas.errors import UserError
from schemas.figures import num_bytes


def confirm(what: str, yes: bool) -> None:
    """Go on when `yes` or when the person says so; `what` is the deed, as in "remove 3 files".

    Raises UserError where nobody can be asked, and ends with 1 when the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"this would {what}, and there is no terminal to ask on; add --yes")
    if not typer.confirm(f"  {what}?"):
        raise typer.Exit(1)


def confirm_build(job: Job, yes: bool) -> None:
    """Ask before more raw text is read than the profile's `confirm_above_gb`."""
    deed = None if yes else large_build(job)
    if deed:
        confirm(deed, yes)


def large_build(job: Job) -> str | None:
    """What a build would do, if that is to read more than the profile's `confirm_above_gb`."""
    from pipelines.build_plan import plan_build
    from pipelines.imported import imported
    from pipelines.inventory import inventory, wanted_of
    from pipelines.tokenizer import find

    whole, store = job.load(), job.at()
    recipe, limit = job.chosen(whole), 1e9 * job.profile.confirm_above_gb
    found = inventory(whole)
    size = sum(origin.size_bytes for origin in wanted_of(recipe, found))
    if size <= limit:
        return None  # whatever of it is built already
    seal = find(whole, store, wanted_of(whole, found))
    if seal is not None:
        size = plan_build(recipe, store, seal, (*found, *imported(whole, store))).num_bytes
    if size <= limit:
        return None
    hours = cost.build_seconds(size) / 3600
    return f"build {num_bytes(size)} of raw text, about {hours:,.0f} core hours"
