"""A recipe here: whether it can be read, its tokenizer and inputs be had, and its data held."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from flows.doctor.finding import Finding, ok, problem, warning
from flows.doctor.place import existing
from flows.job import Job
from flows.plan import Plan, make_plan
from schemas.errors import UserError
from schemas.figures import amount, num_bytes
from schemas.recipe import Recipe
from schemas.store import local_path


def recipe_findings(job: Job) -> Iterator[Finding]:
    """Of a recipe that is named plainly and was built in the store, as it was built there."""
    try:
        built = () if job.overrides else _overrides_built(job)
        job = job.model_copy(update={"overrides": job.overrides or built})
        recipe = job.load()
    except UserError as error:
        yield problem("recipe", *_halves(error))
        return
    as_built = ", with what the store was last built from" if built else ""
    yield ok("recipe", f"{recipe.name}: {', '.join(recipe.phases)}{as_built}")
    yield from _tokenizer(recipe)
    try:
        plan = make_plan(job)
    except UserError as error:
        yield problem("inputs", *_halves(error))
        return
    yield from _inputs(plan)
    yield from _disk(job, plan)


def _overrides_built(job: Job) -> tuple[str, ...]:
    """What was laid over this recipe when it was last built in the store."""
    from flows.serve.defaults import defaults_of

    found = defaults_of(job.at())
    return tuple(found["overrides"]) if found.get("recipe") == job.recipe else ()


def _halves(error: UserError) -> tuple[str, str]:
    """A sentence says what is wrong, and after its first semicolon what mends it."""
    told, _, mend = str(error).partition("; ")
    return told, mend or "see mmbert plan"


def _tokenizer(recipe: Recipe) -> Iterator[Finding]:
    from pipelines.tokenizer import read

    path = recipe.tokenizer.path
    if path is None:
        pieces = recipe.tokenizer.train.vocab_size if recipe.tokenizer.train else 0
        yield ok("tokenizer", f"of {pieces:,} pieces, trained on the recipe's own text")
    elif local_path(path) is None:
        yield ok("tokenizer", f"{path}, read when a build begins")
    else:
        try:
            seal, _ = read(path, recipe.tokenizer.special)
        except UserError as error:
            yield problem("tokenizer", *_halves(error))
        else:
            yield ok("tokenizer", f"{path}: {seal.vocab_size:,} pieces, {seal.digest[:12]}")


def _inputs(plan: Plan) -> Iterator[Finding]:
    for missing in plan.missing:
        if missing.key != "tokenizer.path" or local_path(missing.place) is None:
            yield problem(
                "input", f"{missing.key}: {missing.place} {missing.reason}", missing.remedy
            )
    if not plan.missing:
        languages = len({supply.language for supply in plan.supplies})
        yield ok("inputs", f"all there: {languages:,} languages, {amount(plan.tokens)} tokens")


def _disk(job: Job, plan: Plan) -> Iterator[Finding]:
    from flows.cost import BYTES_PER_TOKEN

    folder = local_path(job.at().url)
    if folder is None:
        return
    free = shutil.disk_usage(existing(folder)).free
    # Shards, and as much again for spills while they are built.
    need = 0 if plan.exact else 2 * BYTES_PER_TOKEN * plan.tokens
    told = f"{num_bytes(free)} free, {num_bytes(need)} needed for data"
    if need > free:
        yield problem("disk", told, "--store on a larger disk, or fewer languages and sources")
    elif need > 0.8 * free:
        yield warning("disk", told, "checkpoints and models need room, too: mmbert gc --keep 3")
    else:
        yield ok("disk", told)
