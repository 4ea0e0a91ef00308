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
import re
import subprocess
import sys
from pathlib import Path

from flows.job import Profile
from flows.launch import templates, torchrun
from flows.launch.asked import Asked, refuse
from schemas.errors import UserError

POLL_S = 5.0
PATIENCE = 60  # polls that may fail one after the other: a cluster may be away for minutes
ENDS = {"Complete": 0, "Failed": 1}


def command(run_json: Path, phase: str | None, profile: Profile) -> list[str]:
    pods = profile.train.kubernetes
    assert pods is not None
    file = templates.write(run_json.with_name("train.yaml"), fill(run_json, phase, profile))
    words = [sys.executable, "-m", "flows.launch.kubernetes", name_of(run_json), file]
    return [*words, pods.namespace] if pods.namespace else words


def name_of(run_json: Path) -> str:
    """A label of DNS, as names of services must be; pods append their number."""
    return re.sub(r"[^a-z0-9-]", "-", f"mmbert-{run_json.parent.name}".lower())[-58:].strip("-")


def fill(run_json: Path, phase: str | None, profile: Profile) -> str:
    """The Job and its service. UserError where the pods would not see the run."""
    pods = profile.train.kubernetes
    assert pods is not None
    if not run_json.is_relative_to(pods.mount):
        raise UserError(
            f"{run_json} does not lie in {pods.mount}, where pods have the claim {pods.claim}; run "
            "this in a pod that mounts it there, too, and give --store a folder in it"
        )
    name = name_of(run_json)
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
        if kubectl.status() is not None:  # left by one who was killed
            kubectl.delete()
        kubectl.run("apply", "--filename", file)
        try:
            status = _wait(kubectl, asked)
            if status is not None:
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
    return 1 if status is None else status


def _wait(kubectl: Kubectl, asked: Asked) -> int | None:
    """The status of the Job's end; None when asked to end before."""
    failed = 0
    while not asked.to_end:
        try:
            if (status := kubectl.status()) is not None:
                return status
            failed = 0
        except subprocess.CalledProcessError:
            failed += 1
            if failed > PATIENCE:
                raise
        asked.within(POLL_S)
    return None


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

    def status(self) -> int | None:
        """0 or 1 of a Job that has ended; None for one at work and where there is none."""
        told = self.run("get", "job", self._name, "--ignore-not-found", "--output", "json")
        conditions = json.loads(told).get("status", {}).get("conditions", []) if told else []
        ends = (ENDS.get(c["type"]) for c in conditions if c["status"] == "True")
        return next((end for end in ends if end is not None), None)

    def logs(self) -> str:
        """What the pods have printed."""
        selector = f"batch.kubernetes.io/job-name={self._name}"
        return self.run("logs", "--selector", selector, "--tail=-1")

    def delete(self) -> None:
        """Ask its pods to end, and wait until they have."""
        self.run("delete", "job,service", self._name, "--ignore-not-found", "--cascade=foreground")


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
