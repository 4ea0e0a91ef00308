"""A Prefect server on loopback, as a child that ends when its block or this process ends.

Its home, with database and log, lies inside the store, never in the user's; Prefect's own variable
PREFECT_API_DATABASE_CONNECTION_URL puts the database on Postgres. A fresh database takes 20 s, say,
so the server is started first and waited for last. Where PREFECT_API_URL is set, that server is
used and none is started. No request of it leaves the machine.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flows.console import console
from flows.listener import LOOPBACK, Listener
from flows.orchestrate import leave_prefect, use_prefect
from flows.tether import Tied, tied
from schemas.errors import UserError
from schemas.store import Store, join, local_path

API_URL = "PREFECT_API_URL"
EVERYWHERE = ("0.0.0.0", "::")
FIRST_PORT = 4200
GRACE_S = 10.0
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
# A machine that trains answers late; what somebody set goes before. In seconds; Prefect: 5 and 10.
PATIENT = {
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
}
# How long after its time a silence is still acted on: a machine may be off for as long. Prefect's
# 60 seconds would leave the runs that it had as running for ever.
ASLEEP = {"PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": "P30D"}
FIRST_UI = {"PREFECT_SERVER_UI_V2_ENABLED": "false"}  # which has artifacts; the other is a switch
OFFLINE = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Server:
    """A server that is up or on its way; `own` is None for one that was there before, at `url`."""

    home: str
    own: Listener | None = None
    url: str = ""

    @property
    def ui_url(self) -> str:
        return own_url(self.own.host, self.own.port) if self.own else self.url

    @property
    def api_url(self) -> str:
        return f"{self.ui_url}/api"

    @property
    def tied(self) -> Tied | None:
        return self.own.tied if self.own else None

    def ready(self) -> None:
        """Wait until it answers, then let flows run on it; on another port than at first where
        somebody else was faster."""
        if self.own is None:
            if not self.answers():
                raise UserError(
                    f"no Prefect server answers at PREFECT_API_URL={self.api_url}; start it, or "
                    "unset the variable to have one started, or use --no-server"
                )
        else:
            with console.stage("server") as stage:
                told = "Prefect prepares its database"
                if not self.own.wait(self.answers, lambda tick: stage.progress(told, tick, 0)):
                    raise RuntimeError(
                        f"the Prefect server did not start; see {self.home}/server.log, or use "
                        "--no-server"
                    )
                stage.result = f"Prefect answers at {self.ui_url}"
        use_prefect(self.api_url, self.home)

    def answers(self) -> bool:
        """Whether its API is there, and is its own."""
        try:
            with urllib.request.urlopen(f"{self.api_url}/health", timeout=2) as answer:
                there = answer.status == 200
        except (urllib.error.URLError, OSError):
            return False
        return there and (self.own is None or self.own.listens())


@contextmanager
def prefect_server(store: Store) -> Iterator[Server]:
    """Start a server for a store (without waiting for it) and end it with the block."""
    home = home_in(store)
    server = given_server(home) or start_server(home, LOOPBACK, FIRST_PORT)
    try:
        yield server
    finally:
        leave_prefect()
        if server.tied is not None:
            server.tied.end()


def home_in(store: Store) -> Path:
    """The folder of a store that is Prefect's home; UserError where it cannot be made.

    Of a store that is on no disk of this machine, which a given server alone can be used with, one
    that keeps logs.
    """
    home = local_path(join(store.url, "prefect"))
    if home is None:
        if os.environ.get(API_URL):
            return Path(tempfile.mkdtemp(prefix="mmbert-prefect-"))
        raise UserError(
            f"{store.url}: a Prefect server keeps its database on a local disk; set {API_URL} to "
            "one that runs elsewhere, or let a command do without: --no-server"
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
    given = os.environ.get(API_URL)
    if not given:
        return None
    if not is_address(given):
        raise UserError(
            f"{API_URL}={given} is not the address of a server; set it as in "
            f"http://HOST:4200/api, or unset it to have one started"
        )
    return Server(str(home), url=given.rstrip("/").removesuffix("/api"))


def start_server(home: Path, host: str, first_port: int) -> Server:
    """Start one on a free port without waiting for it; what it prints goes to `server.log` in its
    home."""

    def start(port: int) -> Tied:
        with (home / "server.log").open("ab") as log:
            return tied(command(host, port), GRACE_S, log, environment(home, host, port))

    return Server(str(home), Listener(start, host, first_port))


def command(host: str, port: int) -> list[str]:
    start = ["-m", "flows.prefect_server", "server", "start", "--host", host, "--port", str(port)]
    return [sys.executable, *start]


def environment(home: Path, host: str, port: int) -> dict[str, str]:
    own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"{own_url(host, port)}/api"}
    # Leases in memory are lost when a server is started again, and runs that hold one crash.
    own["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"] = LEASES
    shown = shown_url(host, port)
    # Prefect's own is *: any page of the web in the user's browser could start programs here.
    asking = {own_url(host, port), f"http://localhost:{port}", shown}
    given = {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(sorted(asking))}
    if host in EVERYWHERE:  # what a browser elsewhere asks
        given["PREFECT_SERVER_UI_API_URL"] = f"{shown}/api"
    return PATIENT | ASLEEP | FIRST_UI | given | os.environ | OFFLINE | own


def own_url(host: str, port: int) -> str:
    """Where this machine reaches a server that listens on `host`."""
    return f"http://{LOOPBACK if host in EVERYWHERE else host}:{port}"


def shown_url(host: str, port: int) -> str:
    """Where those reach it that may."""
    return f"http://{socket.gethostname() if host in EVERYWHERE else host}:{port}"


def is_address(url: str) -> bool:
    """Whether a request can be sent there."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False
