"""What is deployed by `mmbert serve`."""

from __future__ import annotations

from prefect import Flow

from flows.serve import deployed
from flows.serve.deployments import DEPLOYMENTS


def test_each_deployment_has_a_flow_of_its_name_that_says_what_comes_out() -> None:
    assert [d.name for d in DEPLOYMENTS] == ["data", "remix", "train", "evaluate", "release", "run"]
    for deployment in DEPLOYMENTS:
        flow = getattr(deployed, deployment.name)
        assert isinstance(flow, Flow)
        assert flow.name == deployment.name
        assert "**Comes out:**" in deployment.description
