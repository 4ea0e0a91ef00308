"""What the commands do once a job is put together: start a server or none, call a flow, show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from flows import cascade, named_mixtures, stages
from flows.bill import bill, listing
from flows.confirm import confirm_build
from flows.console import console, drawn
from flows.inputs import require_inputs
from flows.job import Job
from flows.outcome import Outcome
from flows.plan import make_plan
from flows.scores import risen, score_table
from flows.server import prefect_server
from schemas import run as runs
from schemas import seal as seals
from schemas.errors import UserError
from schemas.language import language_name
from schemas.store import Store, local_path

FLOWS: dict[str, Callable[[Job], Outcome]] = {
    "run": cascade.run,
    "data": cascade.data,
    "train": cascade.train,
}


def run_job(
    flow: Literal["run", "data", "train"],
    job: Job,
    no_server: bool,
    as_json: bool,
    yes: bool = False,
) -> None:
    """Run a flow, on a Prefect server of its own unless told not to, and show what came out."""
    console.leave_stdout(as_json)
    recipe = job.chosen(job.load())  # a mistake in the recipe is told before a server starts
    if flow != "data" and local_path(job.at().url) is None:
        raise UserError(
            f"--store {job.at().url}: training needs a store on a local disk, and this one can "
            "only be built into, with `mmbert data`; give --store FOLDER"
        )
    named_mixtures.find(job.load(), job.at(), job.manifests)
    require_inputs(job.load(), job.at())
    confirm_build(job if flow == "data" else job.whole(), yes)
    console.say(f"mmbert {flow} {recipe.name}, store {job.at().url}")
    with _orchestrated(job.at(), no_server):
        outcome = FLOWS[flow](job)
    if as_json:
        print(json.dumps(outcome.public()))
        return
    if outcome.run_url is None:
        console.say()
        for url in outcome.manifests.values():
            console.say(f"manifest {url}")
        return
    table = score_table(outcome.log)
    if table is not None:
        console.say()
        console.show(drawn(table))
        _say_risen(risen(outcome.log, runs.load(outcome.run_url)))
    console.say()
    console.say(f"run    {outcome.run_url}")
    models = local_path(outcome.run_url.replace("/run.json", "/models"))
    if outcome.log and models is not None:
        console.say(f"report {models.with_name('report') / 'index.html'}")
        console.say(f"model  {models / recipe.released}")


def _say_risen(models: Mapping[str, Sequence[str]], most: int = 6) -> None:
    """Which languages a phase made worse; all of them stand in the report."""
    for model, codes in models.items():
        names = ", ".join(language_name(code) for code in codes[:most])
        more = f" and {len(codes) - most:,} more" if len(codes) > most else ""
        console.say(f"  rose in {model}: {names}{more}")


@contextmanager
def _orchestrated(store: Store, no_server: bool) -> Iterator[None]:
    if no_server:
        yield
        return
    with prefect_server(store) as server:
        console.say(f"  Prefect UI  {server.ui_url}")
        server.ready()
        yield


def show_plan(job: Job, as_json: bool, every: bool = True) -> None:
    plan = make_plan(job)
    if as_json:
        print(json.dumps(plan.public()))
        return
    for line in (*bill(plan), *listing(plan, every)):
        console.say(line)


def train_tokenizer(job: Job) -> None:
    recipe, store = job.load(), job.at()
    seal = stages.tokenizer(recipe, store, stages.text_to_learn(recipe))
    console.say(seals.seal_folder(store.url, seal.digest))
