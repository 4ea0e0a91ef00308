"""What is deployed by `mmbert serve`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect import Flow

from flows.serve import deployed, register
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


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"recipe": "tiny", "recipe_file": ""}, "train tiny extend=flatter extend=x"),
        ({"recipe": "tiny", "recipe_file": "/data/own.toml"}, "train own extend=flatter extend=x"),
    ],
)
def test_a_run_is_named_by_what_it_trains(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], name: str
) -> None:
    parameters = given | {"mixtures": ["extend=flatter", "extend=x"]}
    named = SimpleNamespace(flow_name="train", parameters=parameters)
    monkeypatch.setattr(deployed, "flow_run", named)
    assert deployed.named_by("recipe", "mixtures")() == name


def test_whoever_registers_names_a_store_and_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "")
    with pytest.raises(UserError, match="0 arguments where the URL of one store belongs"):
        register.main([])
    with pytest.raises(UserError, match="PREFECT_API_URL names no server to register on"):
        register.main(["/data/store"])
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(UserError, match=r"no Prefect server answers at PREFECT_API_URL=.*:9/api"):
        register.main(["/data/store"])
