"""`mmbert serve`: all that the UI needs, on this machine, until Ctrl-C.

    server    Prefect's API and UI (none is started where PREFECT_API_URL names one)
    viewer    read-only pages of the store, which artifacts link to
    worker    takes runs from the work pool `mmbert`, a process each

On the server it registers the pool, the deployments with their forms and the automations. Each of
the three is started again when it ends (a kill -9, say), on the same port, and all of them end with
this process, whichever way that ends: Ctrl-C gives runs the time for a checkpoint.

Only this machine reaches it, unless `--host` says otherwise; that needs Prefect's own variable
PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD, which the viewer asks for as well.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from flows import server as prefect
from flows import training
from flows.console import console
from flows.listener import Listener
from flows.orchestrate import leave_prefect
from flows.serve import automations
from flows.serve.deployments import POOL
from flows.serve.forms import RECIPES_VARIABLE
from flows.serve.service import Service
from flows.server import OFFLINE, Server, given_server, home_in
from flows.tether import Tied
from flows.viewer.auth import auth_string, require_safe
from flows.viewer.links import VIEWER_STORE, VIEWER_URL
from schemas import run as runs
from schemas.errors import UserError
from schemas.store import Store, local_path

SHOWN = "PREFECT_UI_URL"
# Prefect's variables that put a server's database elsewhere than into the store.
DATABASES = ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")
FIRST_PORTS = {"server": prefect.FIRST_PORT, "viewer": 4300}
PORTS = "ports.json"  # in a home: those of its services when they ran last
POLL_S = 0.5
WORKER_GRACE_S = training.GRACE_S + 60


def serve(store_url: str, recipes: Path | None, host: str, port: int | None) -> None:
    """Start everything, print where it is, and keep it running until Ctrl-C or SIGTERM."""
    store = Store.at(store_url)
    require_safe(host)
    if recipes is not None and not recipes.is_dir():
        raise UserError(f"--recipes {recipes}: no such folder; name one that holds *.toml recipes")
    if auth := auth_string():
        os.environ.setdefault("PREFECT_API_AUTH_STRING", auth)  # of the clients started here
    if recipes is not None:
        os.environ[RECIPES_VARIABLE] = str(recipes.absolute())
    home = home_in(store)
    services: list[Service] = []
    started = datetime.now(UTC)
    try:
        server = _server(home, host, port, services)
        viewer = _viewer(store, home, host, services)
        console.say(f"mmbert serve, store {store.url}")
        _ready(server, viewer, port)
        os.environ[VIEWER_STORE] = store.url
        _register(store, server)
        automations.restart_unheard(POOL, started)
        _worker(home, services)
        _say_where(server, store)
        _keep(services)
    except KeyboardInterrupt:
        console.say("  ending: runs get the time for a checkpoint; Ctrl-C again ends them at once")
    finally:
        leave_prefect()
        for service in reversed(services):  # the worker first: its runs tell the server how it went
            service.end()
    console.say("  ended")


def _server(home: Path, host: str, port: int | None, services: list[Service]) -> Server:
    if given := given_server(home):
        return given
    service = Service("server", [], {}, home, prefect.GRACE_S)
    services.append(service)

    def start(free: int) -> Tied:
        service.command = prefect.command(host, free)
        service.environment = prefect.environment(home, host, free)
        return service.start()

    return Server(str(home), Listener(start, host, port or port_before(home, "server")))


def _viewer(store: Store, home: Path, host: str, services: list[Service]) -> Listener:
    """Start the store's pages."""
    viewer = Service("viewer", [], os.environ.copy(), home, prefect.GRACE_S)
    services.append(viewer)

    def start(port: int) -> Tied:
        command = [sys.executable, "-m", "flows.viewer", store.url]
        viewer.command = [*command, "--host", host, "--port", str(port)]
        return viewer.start()

    return Listener(start, host, port_before(home, "viewer"))


def port_before(home: Path, service: str) -> int:
    """The one that it had when it ran last: links to it stand in what runs have said."""
    return _ports(home).get(service, FIRST_PORTS[service])


def _ports(home: Path) -> dict[str, int]:
    with suppress(OSError, ValueError, AttributeError, TypeError):
        noted = json.loads((home / PORTS).read_text())
        return {name: int(port) for name, port in noted.items()}
    return {}


def note_port(home: Path, service: str, port: int) -> None:
    """Leave it for the next start; that of the other service stays."""
    with suppress(OSError):  # a convenience
        (home / PORTS).write_text(json.dumps(_ports(home) | {service: port}))


def _ready(server: Server, viewer: Listener, port: int | None) -> None:
    """Wait for both and tell what runs here where they are."""
    server.ready()
    if server.own is not None:
        if port not in (None, server.own.port):
            console.say(f"  port {port} is taken, the server takes {server.own.port}")
        note_port(Path(server.home), "server", server.own.port)
        # Of links in what runs and events say.
        os.environ[SHOWN] = prefect.shown_url(server.own.host, server.own.port)
    if not viewer.wait(viewer.listens, lambda tick: None):
        raise RuntimeError(f"the viewer did not start; see {server.home}/viewer.log")
    note_port(Path(server.home), "viewer", viewer.port)
    os.environ.setdefault(VIEWER_URL, prefect.shown_url(viewer.host, viewer.port))


def _register(store: Store, server: Server) -> None:
    from flows.serve.register import register

    is_own = server.own is not None and not any(os.environ.get(name) for name in DATABASES)
    with console.stage("deployments") as stage:
        stage.result = ", ".join(register(store, is_own))


def _worker(home: Path, services: list[Service]) -> None:
    from flows.serve.worker import COMMAND, SETTINGS

    environment = os.environ | OFFLINE | SETTINGS
    command = [sys.executable, *COMMAND]
    # Asked to end, it would kill its runs without a word; killed, it leaves that to the tether.
    worker = Service("worker", command, environment, home, WORKER_GRACE_S, signal.SIGKILL)
    services.append(worker)
    worker.start()


def _say_where(server: Server, store: Store) -> None:
    ui_url = os.environ.get(SHOWN, server.ui_url)
    console.say(f"  Prefect UI  {ui_url}")
    console.say(f"  forms       {ui_url}/deployments")
    console.say(f"  store       {os.environ[VIEWER_URL]}")
    for run_json in finished_runs(store):
        console.say(f"  finished    {run_json.parent}")
    console.say("  Ctrl-C ends it")


def _keep(services: Sequence[Service]) -> None:
    """Start again what ends, until somebody ends this."""
    while True:
        for service in services:
            if service.has_ended():
                status = service.start_again()
                console.say(f"  the {service.name} ended ({status}) and was started again")
        time.sleep(POLL_S)


def finished_runs(store: Store) -> list[Path]:
    """The run.json of every run that was trained to its end, the latest last."""
    folder = local_path(store.url)
    found = folder.glob("runs/*/run.json") if folder else ()
    done = [run_json for run_json in found if _is_finished(run_json)]
    return sorted(done, key=lambda run_json: run_json.with_name("models").stat().st_mtime)


def _is_finished(run_json: Path) -> bool:
    try:
        return runs.is_finished(run_json)
    except (OSError, ValueError):  # of another version, or being written
        console.say(f"  unreadable  {run_json}")
        return False
