"""What the automations say; tests/promises has them at work."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate

from flows.job import Job
from flows.serve import automations
from flows.serve.assets import PUBLISHED, labels
from schemas import manifest as manifests
from tests.runs import make_run, phase_settings


def test_only_the_first_crash_of_a_run_of_the_pool_starts_it_again() -> None:
    made = automations.restart("mmbert")
    assert made.enabled
    trigger = made.trigger.model_dump(mode="json")
    assert trigger["for_each"] == ["prefect.resource.id"]
    assert made.trigger.within.days == 365
    assert trigger["match_related"]["prefect.resource.name"] == "mmbert"
    assert [action.state.value for action in made.actions] == ["SCHEDULED"]


def test_silence_is_longer_than_several_heartbeats() -> None:
    made = automations.crashed("mmbert")
    assert made.trigger.within.total_seconds() >= 4 * automations.HEARTBEAT_S
    assert [action.state.value for action in made.actions] == ["CRASHED"]


def test_a_training_from_a_new_mixture_waits_for_somebody_to_switch_it_on() -> None:
    deployment = uuid4()
    made = automations.train(deployment)
    assert not made.enabled
    assert made.trigger.expect == {PUBLISHED}
    assert [action.deployment_id for action in made.actions] == [deployment]


@pytest.mark.parametrize(("name", "mixtures"), [("flatter", ["only=flatter"]), ("main", [])])
def test_it_trains_what_was_mixed(tmp_path: Path, name: str, mixtures: list[str]) -> None:
    """With the overrides and the profile of the build or the remix, as Prefect fills them in."""
    run_json = Path(make_run(tmp_path, {"only": phase_settings()}))
    manifest = next(tmp_path.glob("manifests/*/only/*/manifest.json"))
    assert run_json.is_file()
    overrides = ('sources.dclm.path="/data/füür web"', "phases.only.shares.'dolmino/wiki'=3.0")
    job = Job(recipe="mine.toml", overrides=overrides, store=str(tmp_path))
    told = labels(manifests.load(str(manifest)), str(manifest), name, job, "four-gpus")
    made = automations.train(uuid4())
    assert made.trigger.for_each <= told.keys()
    context = HydrationContext(render_jinja=True, jinja_context={"event": {"resource": told}})
    assert hydrate(made.actions[0].parameters, context) == {
        "recipe_file": "mine.toml",
        "overrides": list(overrides),
        "profile": "four-gpus",
        "store": str(tmp_path),
        "mixtures": mixtures,
    }


def test_a_deployment_that_is_gone_is_replaced_and_nothing_else_changes() -> None:
    gone, there, now = uuid4(), uuid4(), uuid4()
    made = automations.train(gone)
    made.enabled, made.description = True, "mine"
    made.actions += automations.train(there).actions
    renewed = automations.redirected(made, [gone], now)
    assert automations.started_by(renewed) == [now, there]
    same = {"actions": made.actions}
    assert renewed.model_copy(update=same).model_dump() == made.model_dump()
