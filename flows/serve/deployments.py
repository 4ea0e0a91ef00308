"""The deployments of the work pool `mmbert`: one for each flow of flows/serve/deployed.py.

In: the store that is served. Out: six deployments on the server that PREFECT_API_URL names, with
forms, the store's defaults, a nightly schedule of `data` that is switched off, and the limit of one
training at a time. What is there already keeps all that somebody can set in the UI: schedules,
pauses, default parameters, descriptions, limits. Only what the program itself decides is renewed:
the forms, what is run and where. `infra/prefect.yaml` has the same for servers of one's own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.serve.defaults import Defaults, defaults_of
from flows.serve.forms import form_of
from flows.training_slot import LIMIT
from schemas.store import Store

if TYPE_CHECKING:
    from uuid import UUID

    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

POOL = "mmbert"
NIGHTLY = "0 3 * * *"  # UTC
TRAININGS_AT_ONCE = 1


@dataclass(frozen=True)
class Deployment:
    """What the UI shows of a flow beside its form; `schedule` is a cron line, switched off."""

    name: str
    description: str
    schedule: str | None = None


DEPLOYMENTS = (
    Deployment(
        "data",
        """Builds what a recipe reads: raw text is filtered, tokenised and stored, and each phase
gets a mixture of it named `main`. What is in the store already is not built again; a build that
finds nothing new ends in seconds and says so.

**Comes out:** a ledger (read = kept + dropped), and a table and a plot of each phase's mixture.

**Every night:** switch the schedule on. Change it to an interval there, too.""",
        schedule=NIGHTLY,
    ),
    Deployment(
        "remix",
        """Mixes a phase anew from what is built: other weights of languages (tau), other caps,
other shares. Seconds; no text is read, nothing is copied, and the mixture before stays.

**Comes out:** a mixture with your name, its table and plot, and its difference from `main`.
Train it with `train` (Mixtures: `PHASE=NAME`), or switch *Then train* on.""",
    ),
    Deployment(
        "train",
        """Trains a recipe's phases one after the other and merges their models. Data that is not
built yet is built first. Goes on from the last checkpoint, also after a cancel or a crash.

**Comes out:** `transformers` models, loss curves and held-out bits per byte by language, as they
grow. One training runs at a time; another one waits and says for which.""",
    ),
    Deployment(
        "evaluate",
        """Scores a model on the held-out text of a run: bits per byte by language, smaller is
better.

**Comes out:** a table of the model beside the run's other models and the untrained one.""",
    ),
    Deployment(
        "release",
        """Merges the models of a finished run as its recipe's `[release]` says.

**Comes out:** `models/release`, a `transformers` model with a card, scored on held-out text.""",
    ),
    Deployment(
        "run",
        """All of it: `data`, then `train`, then the released model. What is done already is not
done again.

**Comes out:** everything that `data` and `train` show, on one page.""",
    ),
)


def full_name(name: str) -> str:
    """FLOW/DEPLOYMENT, as Prefect finds a deployment; both have the same name here."""
    return f"{name}/{name}"


def deploy(store_url: str) -> list[str]:
    """Register the deployments for a store, or renew them; returns their names.

    The work pool must be there. Raises Prefect's errors when the server cannot be reached.
    """
    from prefect import get_client

    from flows.serve import deployed

    found = defaults_of(Store.at(store_url))
    with get_client(sync_client=True) as client:
        _limit_trainings(client)
        for deployment in DEPLOYMENTS:
            _register(client, deployment, getattr(deployed, deployment.name), found)
    return [deployment.name for deployment in DEPLOYMENTS]


def _limit_trainings(client: SyncPrefectClient) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_global_concurrency_limit_by_name(LIMIT)
    except ObjectNotFound:
        limit = GlobalConcurrencyLimitCreate(name=LIMIT, limit=TRAININGS_AT_ONCE)
        client.create_global_concurrency_limit(limit)


def _register(
    client: SyncPrefectClient, deployment: Deployment, flow: Flow[..., object], found: Defaults
) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.exceptions import ObjectNotFound

    schema = form_of(flow)
    fields = schema["properties"]
    wanted = {name: value for name, value in found.items() if name in fields}
    flow_id = client.create_flow(flow)
    try:
        there = client.read_deployment_by_name(full_name(deployment.name))
    except ObjectNotFound:
        _create(client, deployment, flow_id, schema, wanted)
        return
    plain = {name: told.get("default") for name, told in fields.items()}
    chosen = {name: value for name, value in there.parameters.items() if value != plain.get(name)}
    renewed = {
        "entrypoint": _entrypoint(deployment),
        "pull_steps": _here(),
        "parameter_openapi_schema": schema,
        "parameters": {**wanted, **chosen, "store": found["store"]},
    }
    if any(_now(there, name) != value for name, value in renewed.items()):
        client.update_deployment(there.id, DeploymentUpdate.model_validate(renewed))


def _now(there: DeploymentResponse, field: str) -> object:
    return there.model_dump(mode="json")[field]


def _create(
    client: SyncPrefectClient,
    deployment: Deployment,
    flow_id: UUID,
    schema: dict[str, object],
    parameters: dict[str, object],
) -> None:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    schedules = [
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=deployment.schedule, timezone="UTC"),
            active=False,
            slug="nightly",
        )
        for _ in range(deployment.schedule is not None)
    ]
    client.create_deployment(
        flow_id=flow_id,
        name=deployment.name,
        description=deployment.description,
        tags=[POOL],
        work_pool_name=POOL,
        entrypoint=_entrypoint(deployment),
        parameters=parameters,
        parameter_openapi_schema=schema,
        enforce_parameter_schema=True,
        pull_steps=_here(),
        schedules=schedules,
    )


def _here() -> list[dict[str, dict[str, str]]]:
    """Paths of recipes start where this program runs; without a step Prefect copies that folder."""
    return [{"prefect.deployments.steps.set_working_directory": {"directory": os.getcwd()}}]


def _entrypoint(deployment: Deployment) -> str:
    """A module's, so that it runs in any folder."""
    return f"flows.serve.deployed.{deployment.name}"
