"""Training as an indexed Job of Kubernetes.

    python -m flows.launch.kubernetes NAME FILE [NAMESPACE]        started by flows/training.py

In: a run, a profile with [train] launcher = "kubernetes". Out: `train.yaml` beside run.json (a Job
and the service by which its pods find each other), and the command that applies it, waits for its
end and deletes it, on SIGTERM too: its pods then get SIGTERM and time for a checkpoint. The store
is a volume that the pods and this process have at the same place. A Job that is still at work for
the run is waited for, not made again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

from flows.job import Profile
from flows.launch import templates, torchrun
from flows.launch.asked import Asked, refuse
from flows.launch.name import name_of
from schemas.errors import UserError

POLL_S = 5.0
PATIENCE = 60  # polls that may fail one after the other: a cluster may be away for minutes
State = Literal["absent", "at work", "complete", "failed"]
ENDS: dict[str, State] = {"Complete": "complete", "Failed": "failed"}


def command(run_json: Path, phase: str | None, profile: Profile) -> list[str]:
    pods = profile.train.kubernetes
    assert pods is not None
    file = templates.write(run_json.with_name("train.yaml"), fill(run_json, phase, profile))
    name = name_of(run_json, pods.claim)
    words = [sys.executable, "-m", "flows.launch.kubernetes", name, file]
    return [*words, pods.namespace] if pods.namespace else words


def fill(run_json: Path, phase: str | None, profile: Profile) -> str:
    """The Job and its service. UserError where the pods would not see the run."""
    pods = profile.train.kubernetes
    assert pods is not None
    if not run_json.is_relative_to(pods.mount):
        raise UserError(
            f"{run_json} does not lie in {pods.mount}, where pods have the claim {pods.claim}; run "
            "this in a pod that mounts it there, too, and give --store a folder in it"
        )
    name = name_of(run_json, pods.claim)
    words = [
        *torchrun.torchrun(profile),
        *torchrun.meet_at(f"{name}-0.{name}", profile.train.port),
        *torchrun.trainer(run_json, phase, profile),
    ]
    values: dict[str, object] = {
        "name": name,
        "train": profile.train,
        "pods": pods,
        "grace_s": torchrun.GRACE_S,
        "settings": torchrun.settings(profile),
        "command": ["python", *words],
    }
    return templates.fill("train.yaml.j2", values)


def main(name: str, file: str, namespace: str = "") -> int:
    asked = Asked()
    kubectl = Kubectl(name, namespace)
    try:
        if kubectl.state() in ENDS.values():  # left by one who was killed
            kubectl.delete()
        kubectl.run("apply", "--filename", file)
        try:
            state = _wait(kubectl, asked)
            if state in ENDS.values():
                print(kubectl.logs(), flush=True)
        finally:
            kubectl.delete()
    except FileNotFoundError:
        return refuse(
            'launcher = "kubernetes" needs kubectl, which is not on the PATH; run this where it '
            "is, or choose another profile"
        )
    except subprocess.CalledProcessError as error:
        told = error.stderr.strip().splitlines()[-1:] or [f"ended with {error.returncode}"]
        return refuse(f"kubectl {error.cmd[1]}: {told[0]}; see [train.kubernetes] of the profile")
    if state == "absent":
        print(
            f"mmbert: the Job {name} was deleted before its end; run the same command to go on "
            "from the last checkpoint",
            file=sys.stderr,
        )
    return 0 if state == "complete" else 1


def _wait(kubectl: Kubectl, asked: Asked) -> State:
    """How the Job has ended; "at work" when asked to end before."""
    failed = 0
    while not asked.to_end:
        try:
            if (state := kubectl.state()) != "at work":
                return state
            failed = 0
        except subprocess.CalledProcessError:
            failed += 1
            if failed > PATIENCE:
                raise
        asked.within(POLL_S)
    return "at work"


class Kubectl:
    """What is asked of the cluster about one Job and its service."""

    def __init__(self, name: str, namespace: str) -> None:
        self._name = name
        self._options = ["--namespace", namespace] if namespace else []

    def run(self, *words: str) -> str:
        done = subprocess.run(
            ["kubectl", *words, *self._options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def state(self) -> State:
        told = self.run("get", "job", self._name, "--ignore-not-found", "--output", "json")
        if not told:
            return "absent"
        conditions = json.loads(told).get("status", {}).get("conditions", [])
        met = (condition["type"] for condition in conditions if condition["status"] == "True")
        return next((ENDS[kind] for kind in met if kind in ENDS), "at work")

    def logs(self) -> str:
        """What the pods have printed."""
        selector = f"batch.kubernetes.io/job-name={self._name}"
        return self.run("logs", "--selector", selector, "--tail=-1")

    def delete(self) -> None:
        """Ask its pods to end, and wait until they have."""
        self.run("delete", "job,service", self._name, "--ignore-not-found", "--cascade=foreground")


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
