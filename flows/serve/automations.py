"""What Prefect does by itself with the runs of a pool: automations, each with its switch.

    crashed   a run whose heartbeats stop is marked as crashed
    lost      so is one that a worker took and that never begins
    restart   a run that crashed is started once more, as itself, with the same parameters
    train     a new mixture starts a training (off until somebody switches it on)

A worker reports a run whose process died at once; heartbeats tell of one whose worker and machine
are gone as well. A run that starts again goes on from its last checkpoint. The trigger fires once
for a run, so a second crash stays one.

`register` makes what is missing, by name, and leaves alone what is there: what somebody switched or
changed in the UI stays as it is. Only a deployment that is gone is replaced by the one of its name.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flows.serve.assets import PUBLISHED
from flows.serve.deployments import full_name

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.automations import AutomationCore
    from prefect.client.orchestration import SyncPrefectClient

HEARTBEAT_S = 30  # the shortest that Prefect sends
SILENCE_S = 150.0  # a server that is started again misses some heartbeats
BEGUN_S = 600.0
BURST_S = 60.0  # in which a build tells of its mixtures
CRASHED = "mmbert: a run that is heard no more has crashed"
LOST = "mmbert: a run that never begins has crashed"
RESTART = "mmbert: a run that crashed starts once more"
TRAIN = "mmbert: a new mixture starts a training"
STARTS_ONCE_MORE = "It crashed, and starts once more; training goes on from its last checkpoint."
ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended")
ENDED = {f"prefect.flow-run.{state}" for state in ENDS}


def register(pool: str) -> None:
    """Make the automations of a work pool that the server does not have yet.

    The deployments must be there.
    """
    from prefect.automations import Automation
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        training = client.read_deployment_by_name(full_name("train"))
        for wanted in (crashed(pool), lost(pool), restart(pool), train(training.id)):
            there = client.read_automations_by_name(wanted.name)
            if not there:
                Automation(**dict(wanted)).create()
            for found in there:
                gone = [one for one in started_by(found) if not _is_there(client, one)]
                if gone:
                    client.update_automation(found.id, redirected(found, gone, training.id))


def started_by(automation: AutomationCore) -> list[UUID]:
    """The deployments that its actions name."""
    from prefect.automations import RunDeployment

    actions = [action for action in automation.actions if isinstance(action, RunDeployment)]
    return [action.deployment_id for action in actions if action.deployment_id]


def redirected(automation: AutomationCore, gone: Collection[UUID], to: UUID) -> AutomationCore:
    """The same with another deployment in place of those that are gone."""
    from prefect.automations import AutomationCore, RunDeployment

    actions = [
        action.model_copy(update={"deployment_id": to})
        if isinstance(action, RunDeployment) and action.deployment_id in gone
        else action
        for action in automation.actions
    ]
    fields = automation.model_dump(exclude={"id", "owner_resource", "actions"})
    return AutomationCore(**fields, actions=actions)


def _is_there(client: SyncPrefectClient, deployment: UUID) -> bool:
    from prefect.exceptions import ObjectNotFound

    try:
        client.read_deployment(deployment)
    except ObjectNotFound:
        return False
    return True


def crashed(pool: str) -> AutomationCore:
    heartbeat = "prefect.flow-run.heartbeat"
    said = f"Nothing was heard of this run for {SILENCE_S:.0f} seconds."
    why = "Its process, or its machine, ended without a word: it is heard no more."
    return _silent(CRASHED, pool, {heartbeat}, {heartbeat, *ENDED}, SILENCE_S, why, said)


def lost(pool: str) -> AutomationCore:
    taken = {"prefect.flow-run.Pending", "prefect.flow-run.Submitting"}
    said = "A worker took this run, and it never began."
    why = "A worker took it and ended before the run began."
    return _silent(LOST, pool, taken, {"prefect.flow-run.Running", *ENDED}, BEGUN_S, why, said)


def _silent(
    name: str, pool: str, after: set[str], expect: set[str], within_s: float, why: str, said: str
) -> AutomationCore:
    """A run of the pool that is not heard of in time has crashed."""
    from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
    from prefect.client.schemas.objects import StateType

    trigger = EventTrigger(
        posture=Posture.Proactive,
        after=after,
        expect=expect,
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related=_of_pool(pool),
        for_each={"prefect.resource.id"},
        threshold=1,
        within=timedelta(seconds=within_s),
    )
    return AutomationCore(
        name=name,
        description=why,
        trigger=trigger,
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=said)],
    )


def restart_unheard(pool: str, since: datetime) -> None:
    """Start once more what crashed since a server was started, where `restart` is on.

    A server that starts first marks the runs whose silence it slept through, and only then listens
    to what it tells (Prefect 3.8), so `restart` does not hear of those.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        WorkPoolFilter,
        WorkPoolFilterName,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Scheduled

    crashed = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED]))
    with get_client(sync_client=True) as client:
        if not any(found.enabled for found in client.read_automations_by_name(RESTART)):
            return
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=crashed),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        )
        for run in found:
            states = client.read_flow_run_states(run.id)
            is_first = all(state.name != "AwaitingRetry" for state in states)
            if run.state and run.state.timestamp >= since and is_first:
                again = Scheduled(name="AwaitingRetry", message=STARTS_ONCE_MORE)
                client.set_flow_run_state(run.id, again)


def restart(pool: str) -> AutomationCore:
    from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
    from prefect.client.schemas.objects import StateType

    trigger = EventTrigger(
        posture=Posture.Reactive,
        expect={"prefect.flow-run.Crashed"},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related=_of_pool(pool),
        for_each={"prefect.resource.id"},
        threshold=1,
        within=timedelta(days=365),  # a reactive trigger fires once in this time, for each run
    )
    action = ChangeFlowRunState(
        state=StateType.SCHEDULED,
        name="AwaitingRetry",
        message=STARTS_ONCE_MORE,
    )
    return AutomationCore(
        name=RESTART,
        description="With the same parameters, and once: a second crash stays one.",
        trigger=trigger,
        actions=[action],
    )


def train(deployment: UUID) -> AutomationCore:
    """Switched off. The event is that of flows/serve/assets.py; a build tells of every phase's
    mixture at once, and starts one training."""
    from prefect.automations import AutomationCore, EventTrigger, Posture, RunDeployment

    trigger = EventTrigger(
        posture=Posture.Reactive,
        expect={PUBLISHED},
        match={"prefect.resource.id": "mmbert://manifest/*"},
        for_each={f"mmbert.{key}" for key in ("recipe", "overrides", "profile", "name", "store")},
        threshold=1,
        within=timedelta(seconds=BURST_S),
    )
    mixtures = (
        "[{% if event.resource['mmbert.name'] != 'main' %}"
        "\"{{ event.resource['mmbert.phase'] }}={{ event.resource['mmbert.name'] }}\""
        "{% endif %}]"
    )
    action = RunDeployment(
        source="selected",
        deployment_id=deployment,
        parameters={
            "recipe_file": _filled_in("{{ event.resource['mmbert.recipe'] }}"),
            "store": _filled_in("{{ event.resource['mmbert.store'] }}"),
            "profile": _filled_in("{{ event.resource['mmbert.profile'] }}"),
            "overrides": _of_json("{{ event.resource['mmbert.overrides'] }}"),
            "mixtures": _of_json(mixtures),
        },
    )
    return AutomationCore(
        name=TRAIN,
        description=(
            "Off until it is switched on. A build starts one training of all its mixtures, a remix "
            "one with the new mixture."
        ),
        enabled=False,
        trigger=trigger,
        actions=[action],
    )


def _filled_in(template: str) -> dict[str, str]:
    return {"__prefect_kind": "jinja", "template": template}


def _of_json(template: str) -> dict[str, object]:
    return {"__prefect_kind": "json", "value": _filled_in(template)}


def _of_pool(pool: str) -> dict[str, str | list[str]]:
    return {"prefect.resource.role": "work-pool", "prefect.resource.name": pool}
