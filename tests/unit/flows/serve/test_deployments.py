"""What is deployed: by `mmbert serve`, and by infra/prefect.yaml on a server of one's own."""

from __future__ import annotations

from pathlib import Path

import yaml
from prefect import Flow

from flows.serve import deployed
from flows.serve.deployments import DEPLOYMENTS, POOL
from flows.training_slot import LIMIT

FILE = Path(__file__).parents[4] / "infra" / "prefect.yaml"


def test_each_deployment_has_a_flow_of_its_name_that_says_what_comes_out() -> None:
    assert [d.name for d in DEPLOYMENTS] == ["data", "remix", "train", "evaluate", "release", "run"]
    for deployment in DEPLOYMENTS:
        flow = getattr(deployed, deployment.name)
        assert isinstance(flow, Flow)
        assert flow.name == deployment.name
        assert "**Comes out:**" in deployment.description


def test_the_file_says_the_same() -> None:
    told = yaml.safe_load(FILE.read_text())
    by_name = {found["name"]: found for found in told["deployments"]}
    assert list(by_name) == [d.name for d in DEPLOYMENTS]
    for deployment in DEPLOYMENTS:
        found = by_name[deployment.name]
        assert found["entrypoint"] == f"flows.serve.deployed.{deployment.name}"
        assert found["work_pool"]["name"] == POOL
        assert found["parameters"] == {"store": "{{ $MMBERT_STORE }}"}
        schedules = found.get("schedules", [])
        assert [s["cron"] for s in schedules] == [deployment.schedule] * bool(deployment.schedule)
        assert not any(s["active"] for s in schedules)
    assert f"create {LIMIT} " in FILE.read_text()
