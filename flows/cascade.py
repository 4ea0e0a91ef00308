"""The cascade: raw text in many languages -> token shards -> mixtures -> an encoder.

    run     all of it                        mmbert run tiny
      data    text -> tokenizer -> strata -> a manifest for each phase -> run.json
      train   run.json -> weights, phase by phase, scored on held-out text

A stratum is what one source has in one language; a manifest says how many rows of each a phase
delivers, and in which order. Everything is kept under the id of its content, so a rerun does what
is left, and nothing twice. The stages are in flows/stages.py; `@flow` makes these functions
Prefect flows when a server is there, and leaves them functions when not (flows/orchestrate.py).
"""

from __future__ import annotations

from flows import artifacts, going_on, named_mixtures, stages
from flows.job import Job
from flows.orchestrate import flow
from flows.outcome import Outcome
from schemas.ledger import total


@flow("run", "run {job.recipe}")
def run(job: Job) -> Outcome:
    """Raw text to a trained model."""
    return train(job, data(job.whole()))


@flow("data", "data {job.recipe}")
def data(job: Job) -> Outcome:
    """Raw text to shards, a manifest for each phase and, of all phases, the run's description."""
    recipe, store = job.load(), job.at()
    origins = stages.find_text(recipe, store)
    seal = stages.tokenizer(recipe, store, origins)

    recipe = job.chosen(recipe)
    built = stages.build(recipe, store, seal, origins, job.profile)
    strata = built.strata
    ledger = artifacts.show_ledger(total(stratum.ledger for stratum in strata), recipe, store)

    made = stages.manifests(recipe, store, seal, strata)
    named = named_mixtures.find(recipe, store, job.manifests)
    for phase, (manifest, url) in made.items():
        if phase not in named:
            artifacts.show_mixture(manifest, url)
    named_mixtures.show(named, job.manifests)
    urls = {phase: url for phase, (_, url) in made.items()}
    outcome = Outcome(manifests=urls, ledger=ledger, built=str(built))
    if job.phase:
        return outcome
    if going_on.names_segment(named):
        run_url = going_on.describe(recipe, store, named)
    else:
        recipe = named_mixtures.with_mixtures(recipe, named, seal.digest)
        run_url = stages.describe_run(recipe, store, seal, strata, urls | named, tuple(named))
    return outcome.model_copy(update={"manifests": urls | named, "run_url": run_url})


@flow("train", "train {job.recipe}")
def train(job: Job, built: Outcome | None = None) -> Outcome:
    """Train a run's phases one after the other, on data that is built first where it is not."""
    built = built or data(job.whole())
    assert built.run_url is not None
    return built.trained(stages.train(built.run_url, job.phase, job.profile, job.fresh))
