"""A Prefect server on loopback, as a child that ends when its block or this process ends.

Its home, with database and log, lies inside the store, never in the user's; Prefect's own variable
PREFECT_API_DATABASE_CONNECTION_URL puts the database on Postgres. A fresh database takes 20 s, say,
so the server is started first and waited for last. Where PREFECT_API_URL is set, that server is
used and none is started. No request of it leaves the machine.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from flows.console import console
from flows.orchestrate import leave_prefect, use_prefect
from flows.tether import Tied, tied
from schemas.errors import UserError
from schemas.progress import Progress
from schemas.store import Store, join, local_path

LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")
FIRST_PORT = 4200
NUM_PORTS = 100
POLL_S = 0.1
PATIENCE_S = 180.0
GRACE_S = 10.0
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
# A machine that trains answers late; what somebody set goes before. In seconds; Prefect: 5 and 10.
PATIENT = {
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
}
OFFLINE = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Server:
    """A server that is up or on its way; `tied` is None for one that was there before."""

    ui_url: str
    home: str
    tied: Tied | None

    @property
    def api_url(self) -> str:
        return f"{self.ui_url}/api"

    def ready(self) -> None:
        """Wait until it answers, then let flows run on it."""
        if self.tied is None:
            if not self.answers():
                raise UserError(
                    f"no Prefect server answers at PREFECT_API_URL={self.api_url}; start it, or "
                    "unset the variable to have one started, or use --no-server"
                )
        else:
            with console.stage("server") as stage:
                self._wait(self.tied.process, stage.progress)
                stage.result = f"Prefect answers at {self.ui_url}"
        use_prefect(self.api_url, self.home)

    def _wait(self, process: subprocess.Popen[bytes], progress: Progress) -> None:
        for tick in range(int(PATIENCE_S / POLL_S)):
            if self.answers():
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

    def answers(self) -> bool:
        """Whether its API is there."""
        try:
            with urllib.request.urlopen(f"{self.api_url}/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def prefect_server(store: Store) -> Iterator[Server]:
    """Start a server for a store (without waiting for it) and end it with the block."""
    home = home_in(store)
    server = given_server(home) or start_server(home, LOOPBACK, free_port())
    try:
        yield server
    finally:
        leave_prefect()
        if server.tied is not None:
            server.tied.end()


def home_in(store: Store) -> Path:
    """The folder of a store that is Prefect's home; UserError where it cannot be made."""
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
    return home


def given_server(home: Path) -> Server | None:
    """The server that PREFECT_API_URL names, if it names one."""
    given = os.environ.get("PREFECT_API_URL")
    return Server(given.rstrip("/").removesuffix("/api"), str(home), None) if given else None


def start_server(home: Path, host: str, port: int) -> Server:
    """Start one without waiting for it; what it prints goes to `server.log` in its home."""
    with (home / "server.log").open("ab") as log:
        started = tied(command(host, port), GRACE_S, log, environment(home, host, port))
    return Server(own_url(host, port), str(home), started)


def command(host: str, port: int) -> list[str]:
    start = ["-m", "prefect", "server", "start", "--host", host, "--port", str(port)]
    return [sys.executable, *start]


def environment(home: Path, host: str, port: int) -> dict[str, str]:
    own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"{own_url(host, port)}/api"}
    # Leases in memory are lost when a server is started again, and runs that hold one crash.
    own["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"] = LEASES
    if host in EVERYWHERE:  # what a browser elsewhere asks
        own["PREFECT_SERVER_UI_API_URL"] = f"{shown_url(host, port)}/api"
    return PATIENT | os.environ | OFFLINE | own


def own_url(host: str, port: int) -> str:
    """Where this machine reaches a server that listens on `host`."""
    return f"http://{LOOPBACK if host in EVERYWHERE else host}:{port}"


def shown_url(host: str, port: int) -> str:
    """Where those reach it that may."""
    return f"http://{socket.gethostname() if host in EVERYWHERE else host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str = LOOPBACK, first: int | None = None) -> int:
    """The first free port from `first` on, else from FIRST_PORT."""
    first = first or FIRST_PORT
    for port in range(first, first + NUM_PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise UserError(
        f"ports {first} to {first + NUM_PORTS - 1} of {host} are all taken; free one, set "
        "PREFECT_API_URL to a server that runs, or use --no-server"
    )
