"""Training on Kubernetes is one Job: by the book of its schema, waited for, deleted with a word."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from flows import training
from flows.job import Profile
from flows.launch import templates
from flows.launch.kubernetes import command, fill
from flows.training import TrainingError
from schemas.errors import UserError
from schemas.profile import Pods, Training

VERSIONS = ("1.29", "1.37")  # the oldest and the newest that are looked at

# kubectl as far as a training needs it, over a folder: a Job's conditions are a file of it.
KUBECTL = """#!/bin/bash
here=$(dirname "$0")
echo "$@" >>"$here/called"
case $1 in
  apply) [ -e "$here/refuses" ] && { echo "error: the server says no" >&2; exit 1; }
         touch "$here/applied" ;;
  get) [ -e "$here/deletes" ] && exit 0
       [ -e "$here/applied" ] || exit 0
       printf '{"status": {"conditions": [%s]}}' "$(cat "$here/conditions" 2>/dev/null)" ;;
  logs) cat "$here/logs" 2>/dev/null; true ;;
  delete) rm -f "$here/applied" ;;
esac
"""


def ended(kind: str) -> str:
    conditions = [
        {"type": "SuccessCriteriaMet", "status": "True"},
        {"type": kind, "status": "True"},
    ]
    return ",".join(map(json.dumps, conditions))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cluster"
    folder.mkdir()
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def profile(mount: Path, nodes: int = 2, gpus: int = 8) -> Profile:
    pods = Pods(image="mmbert:cuda", claim="store", mount=str(mount), namespace="mine")
    train = Training(launcher="kubernetes", nodes=nodes, gpus=gpus, cpus=64, kubernetes=pods)
    return Profile(train=train)


def run_in(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "Tiny_one-1234"
    folder.mkdir(parents=True)
    return folder / "run.json"


def train(run_json: Path, mine: Profile) -> None:
    training.train(run_json, None, mine, lambda event: None)


def calls(cluster: Path) -> list[str]:
    return [line.split()[0] for line in (cluster / "called").read_text().splitlines()]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("nodes", "gpus"), [(1, 0), (2, 8)])
def test_job_and_service_are_what_the_schema_says(
    tmp_path: Path, version: str, nodes: int, gpus: int
) -> None:
    text = fill(run_in(tmp_path), "extend", profile(tmp_path, nodes, gpus))
    service, job = yaml.safe_load_all(text)
    for made in (service, job):
        kubernetes_validate.validate(made, version, strict=True)
    pod = job["spec"]["template"]["spec"]
    name = service["metadata"]["name"]
    assert name == pod["subdomain"] == job["metadata"]["name"]
    assert name.startswith("mmbert-tiny-one-1234-")
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    words = pod["containers"][0]["command"]
    assert words[words.index("--master-addr") + 1] == f"{name}-0.{name}"
    assert words[words.index("--master-port") + 1] == str(service["spec"]["ports"][0]["port"])
    assert words[words.index("--nnodes") + 1] == str(job["spec"]["completions"]) == str(nodes)
    assert words[-2:] == ["--phase", "extend"]
    limits = pod["containers"][0]["resources"].get("limits", {})
    assert limits == ({"nvidia.com/gpu": 8} if gpus else {})


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pod_that_runs_the_flow_is_what_the_schema_says(version: str) -> None:
    file = templates.CHECKOUT / "infra" / "kubernetes.yaml"
    made = list(yaml.safe_load_all(file.read_text()))
    for one in made:
        kubernetes_validate.validate(one, version, strict=True)
    assert {one["kind"] for one in made} >= {"PersistentVolumeClaim", "Role", "Job"}


def test_a_job_is_applied_waited_for_and_deleted(cluster: Path, tmp_path: Path) -> None:
    (cluster / "conditions").write_text(ended("Complete"))
    train(run_in(tmp_path), profile(tmp_path))
    assert calls(cluster) == ["get", "apply", "get", "logs", "delete"]
    assert all("--namespace mine" in line for line in (cluster / "called").open())


def test_a_bad_end_is_told_by_the_trainer_s_sentence(cluster: Path, tmp_path: Path) -> None:
    (cluster / "conditions").write_text(ended("Failed"))
    (cluster / "logs").write_text("noise\nmmbert: step 3: the loss is not finite\n")
    with pytest.raises(TrainingError, match=r"^step 3: the loss is not finite$"):
        train(run_in(tmp_path), profile(tmp_path))
    assert calls(cluster)[-1] == "delete"


def test_a_job_that_somebody_deletes_is_not_waited_for(cluster: Path, tmp_path: Path) -> None:
    (cluster / "deletes").touch()
    with pytest.raises(TrainingError, match=r"^the Job mmbert-tiny-.* was deleted before its end"):
        train(run_in(tmp_path), profile(tmp_path))


def test_the_claims_of_two_stores_make_two_jobs_of_one_run(tmp_path: Path) -> None:
    run_json, mine = run_in(tmp_path), profile(tmp_path)
    pods = mine.train.kubernetes
    assert pods is not None
    theirs = mine.train.model_copy(update={"kubernetes": pods.model_copy(update={"claim": "b"})})
    other = mine.model_copy(update={"train": theirs})
    assert command(run_json, None, mine)[3] != command(run_json, None, other)[3]


def test_what_an_earlier_flow_has_left_ended_goes_first(cluster: Path, tmp_path: Path) -> None:
    (cluster / "conditions").write_text(ended("Complete"))
    (cluster / "applied").touch()
    train(run_in(tmp_path), profile(tmp_path))
    assert calls(cluster)[:3] == ["get", "delete", "apply"]


def test_who_cancels_deletes_the_job(cluster: Path, tmp_path: Path) -> None:
    launcher = subprocess.Popen(command(run_in(tmp_path), None, profile(tmp_path)))
    while not (cluster / "applied").exists():
        assert launcher.poll() is None
        time.sleep(0.02)
    launcher.terminate()
    assert launcher.wait(30) == 1
    assert calls(cluster)[-1] == "delete"
    assert not (cluster / "applied").exists()


def test_a_refusal_and_a_machine_without_kubectl_are_one_sentence(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cluster / "refuses").touch()
    run_json = run_in(tmp_path)
    with pytest.raises(UserError, match=r"kubectl apply: .*says no; see \[train.kubernetes\]"):
        train(run_json, profile(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs kubectl"):
        train(run_json, profile(tmp_path))


def test_a_store_that_pods_do_not_see_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not lie in /elsewhere"):
        fill(run_in(tmp_path), None, profile(Path("/elsewhere")))
