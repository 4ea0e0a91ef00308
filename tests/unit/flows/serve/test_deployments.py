"""What is deployed by `mmbert serve`."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect import Flow

from flows.serve import deployed
from flows.serve.deployments import DEPLOYMENTS, require_same_store
from schemas.errors import UserError


def test_each_deployment_has_a_flow_of_its_name_that_says_what_comes_out() -> None:
    assert [d.name for d in DEPLOYMENTS] == ["data", "remix", "train", "evaluate", "release", "run"]
    for deployment in DEPLOYMENTS:
        flow = getattr(deployed, deployment.name)
        assert isinstance(flow, Flow)
        assert flow.name == deployment.name
        assert "**Comes out:**" in deployment.description


def test_a_server_has_the_deployments_of_one_store(tmp_path: Path) -> None:
    mine, link = tmp_path / "mine", tmp_path / "link"
    mine.mkdir()
    link.symlink_to(mine)
    for same in (str(mine), f"{mine}/", str(link), "", None):
        require_same_store(same, str(mine))
    for there, here in ((str(mine), "s3://b/x"), ("s3://b/x", str(mine)), (str(mine), "other")):
        told = f"{here}: .* those of the store {there}, .* of its own"
        with pytest.raises(UserError, match=told):
            require_same_store(there, here)
