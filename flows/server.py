"""A Prefect server on loopback, as a child that ends when its block ends.

Its home, with database and log, lies inside the store, never in the user's. On a fresh database it
needs about 20 s, so it is started first and waited for last. Where PREFECT_API_URL is set, that
server is used and none is started.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flows.console import console
from flows.orchestrate import leave_prefect, use_prefect
from schemas.errors import UserError
from schemas.progress import Progress
from schemas.store import Store, join, local_path

FIRST_PORT = 4200
NUM_PORTS = 100
POLL_S = 0.1
PATIENCE_S = 180.0


@dataclass(frozen=True)
class Server:
    """A server that is up or on its way; `process` is None for one that was there before."""

    ui_url: str
    home: str
    process: subprocess.Popen[bytes] | None

    @property
    def api_url(self) -> str:
        return f"{self.ui_url}/api"

    def ready(self) -> None:
        """Wait until it answers, then let flows run on it."""
        if self.process is None:
            if not self._answers():
                raise UserError(
                    f"no Prefect server answers at PREFECT_API_URL={self.api_url}; start it, or "
                    "unset the variable to have one started, or use --no-server"
                )
        else:
            with console.stage("server") as stage:
                self._wait(self.process, stage.progress)
                stage.result = f"Prefect answers at {self.ui_url}"
        use_prefect(self.api_url, self.home)

    def _wait(self, process: subprocess.Popen[bytes], progress: Progress) -> None:
        for tick in range(int(PATIENCE_S / POLL_S)):
            if self._answers():
                return
            progress("Prefect prepares its database", tick, 0)
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                continue
            break
        raise RuntimeError(
            f"the Prefect server did not start; see {self.home}/server.log, or use --no-server"
        )

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api_url}/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def prefect_server(store: Store) -> Iterator[Server]:
    """Start a server for a store (without waiting for it) and end it with the block."""
    given = os.environ.get("PREFECT_API_URL")
    home = local_path(join(store.url, "prefect"))
    if home is None:
        raise UserError(
            f"{store.url}: a Prefect server keeps its database on a local disk; use --no-server, "
            "or set PREFECT_API_URL to a server that runs elsewhere"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the store {store.url}: {error.strerror or error}; name another with "
            "--store, or fix the permissions"
        ) from error
    if given:
        yield Server(given.rstrip("/").removesuffix("/api"), str(home), None)
        return
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
    }
    command = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        yield Server(url, str(home), process)
    finally:
        leave_prefect()
        _end(process)


def free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + NUM_PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise UserError(
        f"ports {FIRST_PORT} to {FIRST_PORT + NUM_PORTS - 1} are all taken; free one, set "
        "PREFECT_API_URL to a server that runs, or use --no-server"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the whole group, SIGKILL to what is left of it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
