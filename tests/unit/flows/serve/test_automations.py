"""What the automations say; tests/promises has them at work."""

from __future__ import annotations

from uuid import uuid4

from flows.serve import automations
from flows.serve.assets import PUBLISHED


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
