"""The deployments of the work pool `mmbert`: one for each flow of flows/serve/deployed.py.

In: the store that is served. Out: six deployments on the server that PREFECT_API_URL names, with
forms, the store's defaults, a nightly schedule of `data` that is switched off, and the limit of one
training at a time. What is there already keeps all that somebody can set in the UI: schedules,
pauses, default parameters, descriptions, limits. Only what the program itself decides is renewed:
the forms, what they propose, what is run and where. A server has the deployments of one store: who
wants to register a second one is refused. `infra/prefect.yaml` has the same for servers of one's
own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flows.serve.defaults import Defaults, defaults_of, is_chosen, renewed, version_of
from flows.serve.forms import form_of
from flows.training_slot import LIMIT
from flows.viewer.links import is_same
from schemas.digest import Json
from schemas.errors import UserError
from schemas.store import Store

if TYPE_CHECKING:
    from uuid import UUID

    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

POOL = "mmbert"
DEFAULT = "default"  # the queue that every pool has
TRAINING = "training"  # of what may wait for hours to train, and must not hold up the rest
NIGHTLY = "0 3 * * *"  # UTC
TRAININGS_AT_ONCE = 1


@dataclass(frozen=True)
class Deployment:
    """What the UI shows of a flow beside its form; `schedule` is a cron line, switched off."""

    name: str
    description: str
    schedule: str | None = None
    queue: str = DEFAULT


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
        queue=TRAINING,
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
        queue=TRAINING,
    ),
)


def full_name(name: str) -> str:
    """FLOW/DEPLOYMENT, as Prefect finds a deployment; both have the same name here."""
    return f"{name}/{name}"


def deploy(store_url: str, is_own: bool = False) -> list[str]:
    """Register the deployments for a store, or renew them; returns their names.

    The work pool must be there. `is_own` says that the server's database lies in the store, so that
    a store that was moved or copied takes them along. Raises UserError where they are another
    store's, and Prefect's errors when the server cannot be reached.
    """
    from prefect import get_client

    from flows.serve import deployed

    names = [deployment.name for deployment in DEPLOYMENTS]
    found = defaults_of(Store.at(store_url))
    with get_client(sync_client=True) as client:
        known = {name: _read(client, name) for name in names}
        for there in known.values():
            if there is not None and not is_own:
                require_same_store(there.parameters.get("store"), store_url)
        _limit_trainings(client)
        for deployment in DEPLOYMENTS:
            flow = getattr(deployed, deployment.name)
            _register(client, deployment, flow, found, known[deployment.name])
    return names


def require_same_store(there: object, store_url: str) -> None:
    """UserError where a deployment's store is another than this one."""
    if isinstance(there, str) and there and not is_same(Store.at(there), Store.at(store_url)):
        raise UserError(
            f"{store_url}: the deployments of this server are those of the store {there}, and its "
            "schedules build into that; serve this one on a server of its own (without "
            "PREFECT_API_URL), or delete the deployments if the store has moved"
        )


def _limit_trainings(client: SyncPrefectClient) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_global_concurrency_limit_by_name(LIMIT)
    except ObjectNotFound:
        limit = GlobalConcurrencyLimitCreate(name=LIMIT, limit=TRAININGS_AT_ONCE)
        client.create_global_concurrency_limit(limit)


def _read(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(full_name(name))
    except ObjectNotFound:
        return None


def _register(
    client: SyncPrefectClient,
    deployment: Deployment,
    flow: Flow[..., object],
    found: Defaults,
    there: DeploymentResponse | None,
) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate

    schema = form_of(flow)
    fields = schema["properties"]
    values = cast("dict[str, Json]", found)
    wanted = {name: value for name, value in values.items() if name in fields}
    plain = {name: told.get("default") for name, told in fields.items()}
    version = version_of(wanted, plain)
    flow_id = client.create_flow(flow)
    if there is None:
        _create(client, deployment, flow_id, schema, wanted, version)
        return
    chosen = is_chosen(there.parameters, there.version, plain)
    now = {
        "entrypoint": _entrypoint(deployment),
        "pull_steps": _here(),
        "work_queue_name": deployment.queue,
        "parameter_openapi_schema": schema,
        "parameters": renewed(there.parameters, wanted, chosen),
        "version": there.version if chosen else version,
    }
    if any(_now(there, name) != value for name, value in now.items()):
        client.update_deployment(there.id, DeploymentUpdate.model_validate(now))


def _now(there: DeploymentResponse, field: str) -> object:
    return there.model_dump(mode="json")[field]


def _create(
    client: SyncPrefectClient,
    deployment: Deployment,
    flow_id: UUID,
    schema: dict[str, object],
    parameters: dict[str, Json],
    version: str,
) -> None:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    schedules = [
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=deployment.schedule, timezone="UTC"),
            active=False,
        )
        for _ in range(deployment.schedule is not None)
    ]
    client.create_deployment(
        flow_id=flow_id,
        name=deployment.name,
        version=version,
        description=_flowing(deployment.description),
        tags=[POOL],
        work_pool_name=POOL,
        work_queue_name=deployment.queue,
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


def _flowing(text: str) -> str:
    """Markdown without the line ends inside a paragraph, at which Prefect breaks the line."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _entrypoint(deployment: Deployment) -> str:
    """A module's, so that it runs in any folder."""
    return f"flows.serve.deployed.{deployment.name}"
