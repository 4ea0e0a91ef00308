"""The six flows of the UI: `data`, `remix`, `train`, `evaluate`, `release` and `run`.

In: the fields of a form (flows/serve/forms.py). Out: the flow's work, done by the functions that
the command line calls, in the same process, so that the page of a run shows every task and
artifact; and the state of the run, whose message is what came out, or the sentence that says what
is wrong and what mends it. A Prefect worker runs them; `flows.serve.deployments` registers them.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import PurePath
from typing import ParamSpec

import prefect
from prefect.exceptions import FailedRun
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, State

from flows import cascade, evaluating, named_mixtures, releasing, remixing
from flows.artifacts import show_difference, show_mixture
from flows.confirm import large_build
from flows.console import console
from flows.inputs import require_inputs
from flows.job import Job
from flows.mixture_commands import lines
from flows.orchestrate import failed, use_given_prefect
from flows.outcome import Outcome
from flows.scores import score_table
from flows.serve import forms
from flows.serve.assets import announce
from flows.serve.cancelling import heeding_cancel
from flows.serve.deployments import full_name
from flows.serve.forms import job_of
from flows.training import TrainingError
from schemas import manifest as manifests
from schemas.errors import UserError
from schemas.figures import bits
from schemas.find_manifest import MAIN, named_manifest

P = ParamSpec("P")

STORE = "mmbert-store"
LOCAL = "local"
TELL_S = 60


def named_by(*parameters: str) -> Callable[[], str]:
    """The name of a run: its flow and what these parameters hold, lists as well; of a recipe that
    is a file of its own, the file's name."""

    def name() -> str:
        parts = [str(flow_run.flow_name)]
        for parameter in parameters:
            given = flow_run.parameters[parameter]
            if parameter == "recipe" and (file := flow_run.parameters["recipe_file"]):
                given = PurePath(file).stem
            parts += given if isinstance(given, list) else [given]
        return " ".join(filter(None, parts))

    return name


def deployed(
    run_name: Callable[[], str],
) -> Callable[[Callable[P, str]], prefect.Flow[P, State[None]]]:
    """A flow of a function that returns what the state of its run shall say."""

    def decorate(function: Callable[P, str]) -> prefect.Flow[P, State[None]]:
        @wraps(function)
        def told(*args: P.args, **kwargs: P.kwargs) -> State[None]:
            use_given_prefect()
            is_cancelled: Callable[[], bool] = bool
            try:
                with heeding_cancel() as is_cancelled:
                    return Completed(message=function(*args, **kwargs))
            except (UserError, TrainingError) as error:
                get_run_logger().error(str(error))
                logging.getLogger("prefect.flow_runs").addFilter(_is_no_echo)
                return failed(str(error))
            except BaseException as error:
                if is_cancelled():
                    return Cancelled(message="The run ended itself: no worker did.")
                if _is_signalled(error):
                    # Prefect tells the server so and waits for one that is gone, for minutes.
                    signal.alarm(TELL_S)
                raise

        named = prefect.flow(
            name=function.__name__, flow_run_name=run_name, persist_result=False, log_prints=False
        )
        return named(told)

    return decorate


def _is_signalled(error: BaseException | None) -> bool:
    """Whether a signal ended a flow, also where something failed on the way out."""
    while isinstance(error, Exception):
        error = error.__context__
    return error is not None


@deployed(named_by("recipe"))
def data(
    recipe: forms.RecipeName = "tiny",
    phase: forms.OnlyPhase = "",
    store: forms.StoreUrl = STORE,
    profile: forms.ProfileName = LOCAL,
    large: forms.Large = False,
    recipe_file: forms.RecipeFile = "",
    overrides: forms.Overrides = [],  # noqa: B006  (Prefect wants plain defaults, never changed)
) -> str:
    """Raw text to shards and mixtures."""
    job = job_of(recipe, recipe_file, store, profile, overrides, phase)
    _check(job, large)
    before = _mains(job)
    outcome = cascade.data(job)
    for name, url in outcome.manifests.items():
        if before.get(name) != url:
            announce(manifests.load(url), url, MAIN, job, profile)
    return f"{outcome.built}; {len(outcome.manifests)} mixtures"


@deployed(named_by("recipe", "phase", "name"))
def remix(
    name: forms.MixtureName,
    recipe: forms.RecipeName = "tiny",
    phase: forms.Phase = forms.FIRST_PHASE,
    tau: forms.Tau = None,
    tau_end: forms.TauEnd = None,
    max_epochs: forms.MaxEpochs = None,
    shares: forms.Shares = [],  # noqa: B006
    pool_tokens: forms.Pool = None,
    budget_tokens: forms.Budget = None,
    train: forms.TrainNext = False,
    store: forms.StoreUrl = STORE,
    profile: forms.ProfileName = LOCAL,
    recipe_file: forms.RecipeFile = "",
    overrides: forms.Overrides = [],  # noqa: B006
) -> str:
    """Another mixture of what is built."""
    plain = job_of(recipe, recipe_file, store, profile, overrides)
    before = plain.load()
    which = forms.require_phase(before, phase)
    forms.require_groups(before, shares)
    changed = forms.mixed_anew(which, tau, tau_end, max_epochs, shares, pool_tokens, budget_tokens)
    asked = {"phase": which, "overrides": (*plain.overrides, *changed)}
    made = remixing.remix(plain.model_copy(update=asked), name)
    difference = made.difference
    rest_is = "the artifact `difference-...` leads to all of them"
    for line in lines(difference, False, rest_is) if difference else ():
        console.say(line)
    for line in remixing.told(made, store):
        console.say(line)
    show_mixture(made.manifest, made.url)
    if made.before and made.before_url:
        show_difference(made.before, made.before_url, made.manifest, made.url)
    if made.is_new and not train:
        training = plain.model_copy(update={"overrides": made.overrides})
        announce(made.manifest, made.url, name, training, profile)
    num_changed = len(difference.changed) if difference else len(made.manifest.languages)
    what = f"{num_changed} languages change"
    if difference and not difference.changed and not difference.settings:
        what = "nothing changes; fill in tau, shares or another field"
    told = f"{made.manifest.phase}/{name}: {what}"
    if made.renamed:
        told += f"; the name was {made.renamed}'s, which keeps its id"
    if not train:
        return f"{told}; `train` takes it as the mixture {made.manifest.phase}={name}"
    mixtures = [f"{key}={value}" for key, value in made.mixtures.items()]
    started = _start_training(recipe, recipe_file, store, profile, list(made.overrides), mixtures)
    return f"{told}; training starts as {started}"


@deployed(named_by("recipe", "mixtures"))
def train(
    recipe: forms.RecipeName = "tiny",
    mixtures: forms.Mixtures = [],  # noqa: B006
    phase: forms.OnlyPhase = "",
    fresh: forms.Fresh = False,
    store: forms.StoreUrl = STORE,
    profile: forms.ProfileName = LOCAL,
    large: forms.Large = False,
    recipe_file: forms.RecipeFile = "",
    overrides: forms.Overrides = [],  # noqa: B006
) -> str:
    """A model, phase by phase."""
    job = job_of(recipe, recipe_file, store, profile, overrides, phase, mixtures, fresh)
    _check(job.whole(), large)
    return _scored(cascade.train(job))


@deployed(named_by("recipe", "mixtures"))
def run(
    recipe: forms.RecipeName = "tiny",
    mixtures: forms.Mixtures = [],  # noqa: B006
    fresh: forms.Fresh = False,
    store: forms.StoreUrl = STORE,
    profile: forms.ProfileName = LOCAL,
    large: forms.Large = False,
    recipe_file: forms.RecipeFile = "",
    overrides: forms.Overrides = [],  # noqa: B006
) -> str:
    """Raw text to a model."""
    job = job_of(recipe, recipe_file, store, profile, overrides, "", mixtures, fresh)
    _check(job, large)
    return _scored(cascade.run(job))


@deployed(named_by("run", "model"))
def evaluate(
    run: forms.RunName,
    model: forms.ModelName = "",
    store: forms.StoreUrl = STORE,
) -> str:
    """How well a model predicts held-out text."""
    scored = evaluating.evaluate(store, run, model)
    if scored.macro is None:
        return f"{scored.name}: too little held-out text for a figure"
    return f"{scored.name}: {bits(scored.macro)} bits per byte, the mean of languages"


@deployed(named_by("run"))
def release(
    run: forms.RunName,
    store: forms.StoreUrl = STORE,
    profile: forms.ProfileName = LOCAL,
) -> str:
    """One model of a run's phases."""
    from flows.job import load_profile

    return str(releasing.release(store, run, load_profile(profile)))


def _is_no_echo(record: logging.LogRecord) -> bool:
    """Prefect raises a failed state again and logs where: a screenful below its sentence."""
    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun))


def _check(job: Job, large: bool) -> None:
    """Refuse at once what could only fail later, or what nobody may have meant."""
    named_mixtures.find(job.load(), job.at(), job.manifests)
    require_inputs(job.load(), job.at())
    deed = None if large else large_build(job)
    if deed:
        raise UserError(f"this would {deed}; switch on `Build much text` if that is meant")


def _mains(job: Job) -> dict[str, str | None]:
    """phase -> URL of the mixture that a build made before."""
    recipe, store = job.load(), job.at()
    return {name: named_manifest(store, recipe.name, name, MAIN) for name in recipe.phases}


def _scored(outcome: Outcome) -> str:
    """What a training has come to, in words."""
    table = score_table(outcome.log)
    if table is None or outcome.run_url is None:
        return "trained"
    mean = table.rows[0][1]
    first, last = bits(mean[0]), bits(mean[-1])
    return f"{table.columns[-1]}: {last} bits per byte, {table.columns[0]} {first}"


def _start_training(
    recipe: str,
    recipe_file: str,
    store: str,
    profile: str,
    overrides: list[str],
    mixtures: list[str],
) -> str:
    """A run of the deployment `train`; returns its name."""
    from prefect.deployments import run_deployment

    started = run_deployment(
        full_name("train"),
        parameters={
            "recipe": recipe,
            "recipe_file": recipe_file,
            "store": store,
            "profile": profile,
            "overrides": overrides,
            "mixtures": mixtures,
        },
        timeout=0,
        as_subflow=False,
    )
    return started.name
