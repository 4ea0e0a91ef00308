"""`mmbert serve` as its users start it, and its API as the UI uses it; nothing of it is replaced.

store = built_store(folder)                raw text of three languages, built; a form starts so
with serving(store) as served:             ends with SIGINT, as Ctrl-C does, if it still runs
    run = served.start("train")
    served.wait(run, "Training")
    served.cancel(run)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import psutil

from flows.tether import FAMILY, living
from pipelines.sample import write_sample
from trainer import checkpoint
from trainer.journal import Lines

T = TypeVar("T")

PATIENCE_S = 420.0
SOURCES = ("fineweb2", "dclm", "dolmino")
PHASES = ("pretrain", "extend", "decay-eng", "decay-cont", "decay-all")
MMBERT = "import sys; from flows.cli import main; sys.exit(main(sys.argv[1:]))"


def mmbert(*arguments: str) -> list[str]:
    return [sys.executable, "-c", MMBERT, *arguments]


def plain_environment() -> dict[str, str]:
    """This process's, without what would lead to another server."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}


def built_store(
    folder: Path,
    budget_tokens: int = 400_000,
    languages: int = 3,
    megabytes: float = 0.4,
    vocab_size: int = 1_000,
) -> Path:
    """A store in which `data tiny` was run; the phases take minutes to train."""
    write_sample(folder / "sample", languages, megabytes)
    sets = [f"--set=sources.{name}.path={folder / 'sample' / name}" for name in SOURCES]
    sets += [f"--set=tokenizer.train.vocab_size={vocab_size}"]
    for phase in PHASES:
        sets += [f"--set=phases.{phase}.{key}_tokens={budget_tokens}" for key in ("pool", "budget")]
        sets += [f"--set=phases.{phase}.max_epochs=1000"]
    store = folder / "store"
    command = mmbert("data", "tiny", "--no-server", "--store", str(store), *sets)
    subprocess.run(command, check=True, capture_output=True)
    return store


@dataclass
class Served:
    """A service that was started, and the family of all its processes."""

    process: subprocess.Popen[bytes]
    family: str
    printed: Path
    store: Path
    auth: str | None = None

    def address(self, name: str = "Prefect UI") -> str:
        lines = self.printed.read_text().splitlines()
        return next(line for line in lines if name in line).split()[-1]

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  (JSON)
        """What the API answers; tries again while the server is away."""
        request = urllib.request.Request(
            f"{self.address()}/api{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        if self.auth:
            request.add_header("Authorization", f"Basic {b64encode(self.auth.encode()).decode()}")

        def answer() -> tuple[bytes] | None:  # what is empty is an answer, too
            try:
                with urllib.request.urlopen(request, timeout=60) as answered:
                    return (answered.read(),)
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise
                if error.code == 503:  # its database is busy: Prefect's clients try again, too
                    return None
                log = (self.store / "prefect" / "server.log").read_text()
                raise AssertionError(f"{method} {path}: {error}\n{log[-6000:]}") from None
            except OSError:
                return None

        (told,) = until(answer, "the server answers")
        return json.loads(told) if told else None

    def start(self, deployment: str, parameters: Mapping[str, object] | None = None) -> str:
        """A run of a deployment; returns its id."""
        found = self.call("GET", f"/deployments/name/{deployment}/{deployment}")
        body = {"parameters": parameters or {}, "state": {"type": "SCHEDULED"}}
        return str(self.call("POST", f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def artifacts(self, key: str) -> list[dict[str, Any]]:
        """All that were made with a key."""
        wanted = {"artifacts": {"key": {"any_": [key]}}}
        return list(self.call("POST", "/artifacts/filter", wanted))

    def set_state(self, run: str, kind: str, name: str | None = None) -> None:
        state = {"type": kind} | ({"name": name} if name else {})
        self.call("POST", f"/flow_runs/{run}/set_state", {"state": state})

    def cancel(self, *runs: str) -> None:
        """As the UI's button does, all of them; and wait until they are."""
        for run in runs:
            self.set_state(run, "CANCELLING")
        for run in runs:
            self.wait(run, "Cancelled")

    def state(self, run: str) -> str:
        """The name of its state."""
        return str(self.call("GET", f"/flow_runs/{run}")["state"]["name"])

    def wait(self, run: str, *names: str) -> str:
        """Until the run's state has one of these names."""

        def reached() -> str | None:
            name = self.state(run)
            assert name in names or name not in ("Failed", "Completed"), self.story(run)
            return name if name in names else None

        return until(reached, f"run {run} is {' or '.join(names)}", lambda: self.story(run))

    def story(self, run: str) -> str:
        found = self.call("GET", f"/flow_runs/{run}")
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        lines = [line["message"] for line in self.call("POST", "/logs/filter", wanted)]
        return "\n".join([f"{found['state']['name']}: {found['state']['message']}", *lines])

    def wait_for_end(self, run: str) -> None:
        """Until it is completed."""
        until(
            lambda: self.state(run) in ("Completed", "Failed", "Crashed", "Cancelled"),
            "the run ends",
            lambda: self.story(run),
        )
        assert self.state(run) == "Completed", self.story(run)

    def python(self, script: str) -> subprocess.CompletedProcess[str]:
        """A script that uses the service's server."""
        environment = plain_environment() | {
            "PREFECT_API_URL": f"{self.address()}/api",
            "PREFECT_HOME": str(self.store / "prefect"),
        }
        command = [sys.executable, "-c", script]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def commands(self) -> dict[int, str]:
        """The command line of every process of it that is no tether."""
        found = {}
        for pid in living(self.family):
            with suppress(psutil.NoSuchProcess):
                found[pid] = " ".join(psutil.Process(pid).cmdline())
        return {pid: words for pid, words in found.items() if "flows.tether" not in words}

    def process_of(self, run: str) -> psutil.Process:
        """The flow run's own process."""

        def found() -> psutil.Process | None:
            for pid, words in self.commands().items():
                with suppress(psutil.NoSuchProcess):
                    own = psutil.Process(pid).environ().get("PREFECT__FLOW_RUN_ID") == run
                    if own and "prefect" in words:
                        return psutil.Process(pid)
            return None

        return until(found, f"run {run} has a process")

    def service(self, words: str) -> psutil.Process:
        """The process of the server, worker or viewer, below its tether."""
        (pid,) = [pid for pid, line in self.commands().items() if words in line]
        return psutil.Process(pid)

    def end(self) -> int:
        """Ctrl-C; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)

    def left(self) -> dict[int, int]:
        return living(self.family)


@contextmanager
def serving(
    store: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[Served]:
    family = f"test-{uuid4().hex}"
    printed = store.with_name(f"{store.name}-{family}.txt")
    given = dict(environment or {})
    with printed.open("wb") as output:
        process = subprocess.Popen(
            mmbert("serve", "--store", str(store), *options),
            stdout=output,
            stderr=subprocess.STDOUT,
            env=plain_environment() | given | {FAMILY: family},
        )
    served = Served(process, family, printed, store, given.get("PREFECT_SERVER_API_AUTH_STRING"))
    try:
        until(
            lambda: "Ctrl-C ends it" in printed.read_text() or process.poll() is not None,
            "the service is up",
            printed.read_text,
        )
        assert process.poll() is None, printed.read_text()
        yield served
    finally:
        served.end()


def until(reached: Callable[[], T | None], what: str, story: Callable[[], str] = str) -> T:
    """Wait until something holds, and give what holds; minutes, since tests share cores."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := reached():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited in vain until {what}\n{story()}")


def steps(run_json: Path) -> int:
    """The last step that a training has written down."""
    log = run_json.with_name("log.jsonl")
    lines = Lines(log, write=False).read() if log.exists() else []
    return max((line["step"] for line in lines if line["kind"] == "step"), default=0)


def saved_step(run_json: Path) -> int:
    found = checkpoint.newest(run_json.with_name("checkpoints"), "pretrain")
    return found.step if found else 0


def only_run(store: Path) -> Path:
    """Its run.json; runs that were set aside are none."""
    (run_json,) = (path for path in store.glob("runs/*/run.json") if "." not in path.parent.name)
    return run_json


def set_aside(store: Path) -> list[str]:
    """The runs that `--fresh` has moved away."""
    return [folder.name for folder in store.glob("runs/*.*")]
