"""infra/prefect.yaml deploys what `mmbert serve` does, and its commands are those of the worker."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import yaml

from flows.serve.deployments import DEFAULT, DEPLOYMENTS, POOL
from flows.serve.worker import COMMAND, SETTINGS

FILE = Path(__file__).parents[3] / "infra" / "prefect.yaml"


def commands() -> list[str]:
    """Those that the file's head tells to run."""
    return re.findall(r"^#   (\S.*)$", FILE.read_text(), flags=re.MULTILINE)


def test_the_file_says_the_same() -> None:
    told = yaml.safe_load(FILE.read_text())
    by_name = {found["name"]: found for found in told["deployments"]}
    assert list(by_name) == [d.name for d in DEPLOYMENTS]
    (step,) = told["pull"]
    assert list(step) == ["prefect.deployments.steps.set_working_directory"]
    for deployment in DEPLOYMENTS:
        found = by_name[deployment.name]
        assert found["entrypoint"] == f"flows.serve.deployed.{deployment.name}"
        assert found["work_pool"]["name"] == POOL
        assert found["work_pool"].get("work_queue_name", DEFAULT) == deployment.queue
        assert found["tags"] == [POOL]
        assert found["parameters"] == {"store": "{{ $MMBERT_STORE }}"}
        schedules = found.get("schedules", [])
        assert [s["cron"] for s in schedules] == [deployment.schedule] * bool(deployment.schedule)
        assert not any(s["active"] for s in schedules)


def test_what_is_no_deployment_is_made_by_a_command() -> None:
    (module,) = re.findall(r"^python -m (\S+) \"\$MMBERT_STORE\"", "\n".join(commands()), re.M)
    assert module == "flows.serve.register"
    assert find_spec(module)


def test_the_worker_is_started_as_mmbert_serve_starts_its_own() -> None:
    exports = [line.removeprefix("export ") for line in commands() if line.startswith("export ")]
    given = dict(word.split("=", 1) for line in exports for word in line.split())
    assert SETTINGS.items() <= given.items()
    (worker,) = [line for line in commands() if line.startswith("prefect worker")]
    assert worker.split() == COMMAND[1 : COMMAND.index("--name")]
