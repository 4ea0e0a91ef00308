"""Runs from the forms of the UI: what comes out, what is refused, and what a restart leaves alone.

One `mmbert serve` for all of it: a fresh database takes up to a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.find_manifest import named_manifest
from schemas.store import Store
from tests.serving import Served, built_store, plain_environment, serving, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FLOWS = ("data", "remix", "train", "evaluate", "release", "run")
SETTINGS = ("parameters", "schedules", "paused", "description", "tags", "entrypoint", "pull_steps")
DEPLOY = "import sys; from flows.serve.deployments import deploy; deploy(sys.argv[1])"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = built_store(tmp_path_factory.mktemp("forms"), budget_tokens=50_000)
    with serving(store) as found:
        yield found


def deployment(served: Served, name: str) -> dict:
    return served.call("GET", f"/deployments/name/{name}/{name}")


def form(deployment: dict) -> dict:
    """Its fields; a number that may be null is one that may stay empty."""
    fields = deployment["parameter_openapi_schema"]["properties"]
    for field in fields.values():
        if {"type": "null"} in field.get("anyOf", ()):
            (kind,) = [kind for kind in field.pop("anyOf") if kind != {"type": "null"}]
            field |= kind
            del field["default"]
    return fields


def message(served: Served, run: str, name: str) -> str:
    """That of the state with which a run ended."""

    def ended() -> dict | None:
        state = served.call("GET", f"/flow_runs/{run}")["state"]
        return state if state["name"] in ("Completed", "Failed", "Crashed") else None

    found = until(ended, "the run ends", lambda: served.story(run))
    assert found["name"] == name, served.story(run)
    return found["message"]


def test_what_somebody_set_in_the_ui_outlives_a_restart(served: Served) -> None:
    before = {name: deployment(served, name) for name in FLOWS}
    (nightly,) = before["data"]["schedules"]
    assert not nightly["active"]
    assert before["remix"]["parameters"]["store"] == str(served.store)
    assert any("sources.dclm.path" in line for line in before["run"]["parameters"]["overrides"])
    schedule = {"interval": 7200.0, "anchor_date": "2026-01-01T00:00:00Z", "timezone": "UTC"}
    path = f"/deployments/{before['data']['id']}/schedules/{nightly['id']}"
    served.call("PATCH", path, {"active": True, "schedule": schedule})
    wanted = {
        "deployments": {"id": {"any_": [before["data"]["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    until(lambda: served.call("POST", "/flow_runs/count", wanted), "runs are planned")
    served.call("PATCH", f"/deployments/{before['run']['id']}", {"paused": True})
    parameters = before["remix"]["parameters"] | {"phase": "extend"}
    changed = {"description": "mine", "tags": ["mine"], "parameters": parameters}
    served.call("PATCH", f"/deployments/{before['remix']['id']}", changed)
    limit = {"limit": 2}
    served.call("PATCH", "/v2/concurrency_limits/mmbert-training", limit)

    set_so = {name: deployment(served, name) for name in FLOWS}
    again = served.python(f"import sys; sys.argv = ['', {str(served.store)!r}]; {DEPLOY}")
    assert again.returncode == 0, again.stderr
    for name in FLOWS:
        found = deployment(served, name)
        for key in SETTINGS:
            if key != "pull_steps":  # the folder in which a restart happens
                assert found[key] == set_so[name][key], (name, key)
    assert served.call("GET", "/v2/concurrency_limits/mmbert-training")["limit"] == 2
    served.call("PATCH", path, {"active": False})
    served.call("PATCH", f"/deployments/{before['run']['id']}", {"paused": False})
    as_before = {key: before["remix"][key] for key in changed}
    served.call("PATCH", f"/deployments/{before['remix']['id']}", as_before)


def test_a_remix_is_made_from_the_form_and_told_as_an_asset(served: Served) -> None:
    filled = {"name": "flatter", "phase": "extend", "tau": 0.1}
    run = served.start("remix", filled)
    told = message(served, run, "Completed")
    assert told.startswith("extend/flatter: ")
    assert told.endswith("`train` takes it as the mixture extend=flatter")
    assert served.call("GET", f"/flow_runs/{run}")["name"] == "remix tiny extend flatter"
    url = named_manifest(Store.at(str(served.store)), "tiny", "extend", "flatter")
    assert url
    command = "mmbert train tiny --manifest extend=flatter"
    until(lambda: command in served.story(run), "its log has arrived")
    assert "tau                 0.5 -> 0.1" in served.story(run)
    wanted = {"filter": {"event": {"name": ["prefect.asset.materialization.succeeded"]}}}

    def asset() -> dict | None:
        found = served.call("POST", "/events/filter", wanted)["events"]
        return found[0]["resource"] if found else None

    resource = until(asset, "the asset is told of")
    assert resource["prefect.resource.id"] == "mmbert://manifest/tiny/extend/flatter"
    assert resource["prefect.asset.url"] == url
    assert (resource["mmbert.phase"], resource["mmbert.name"]) == ("extend", "flatter")


def test_a_remix_that_changes_nothing_says_so(served: Served) -> None:
    run = served.start("remix", {"name": "same", "phase": "extend"})
    told = message(served, run, "Completed")
    assert told.startswith("extend/same: nothing changes; fill in tau, shares or another field")


def test_a_wrong_phase_fails_with_one_sentence(served: Served) -> None:
    run = served.start("remix", {"name": "flatter", "phase": "extnd"})
    told = message(served, run, "Failed")
    assert told.startswith("Phase extnd: ")
    assert "did you mean extend?" in told
    assert "Traceback" not in served.story(run)


def test_a_build_that_finds_nothing_new_says_so(served: Served) -> None:
    run = served.start("data")
    assert message(served, run, "Completed").startswith("nothing new: all ")


def test_the_file_for_other_servers_makes_the_same_deployments(
    served: Served, tmp_path: Path
) -> None:
    before = {name: deployment(served, name) for name in FLOWS}
    environment = plain_environment() | {
        "PREFECT_API_URL": f"{served.address()}/api",
        "PREFECT_HOME": str(served.store / "prefect"),
        "MMBERT_STORE": str(served.store),
    }
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        [*command, "--prefect-file", str(ROOT / "infra" / "prefect.yaml")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in FLOWS:
        found = deployment(served, name)
        assert found["parameters"]["store"] == str(served.store)
        for key in ("entrypoint", "work_pool_name", "work_queue_name", "paused", "tags"):
            assert found[key] == before[name][key], (name, key)
        assert form(found) == form(before[name])
    (nightly,) = deployment(served, "data")["schedules"]
    assert not nightly["active"]
    assert os.listdir(tmp_path) == []
