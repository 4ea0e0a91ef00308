"""A Prefect server: the one that PREFECT_API_URL names, or one that runs for the store."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator

import psutil

from flows.doctor.finding import Finding, ok, problem, warning
from schemas.store import Store, join, local_path

URL, HOME, AUTH = "PREFECT_API_URL", "PREFECT_HOME", "PREFECT_API_AUTH_STRING"
POOL = "mmbert"
PATIENCE_S = 3.0
REGISTER = "mmbert serve, or on a server of your own: infra/prefect.yaml"


def server_findings(store: Store) -> Iterator[Finding]:
    given = os.environ.get(URL)
    url = given or _server_of(store)
    if url is None:
        yield ok("server", "none runs; commands start one of their own, mmbert serve the UI")
        return
    try:
        _ask(f"{url}/health")
    except OSError as error:
        told = f"no answer at {url} ({getattr(error, 'reason', None) or error})"
        yield problem("server", told, f"start it, or unset {URL}" if given else "see server.log")
        return
    yield ok("server", f"answers at {url}")
    yield _pool(url)


def _pool(url: str) -> Finding:
    try:
        workers = _ask(f"{url}/work_pools/{POOL}/workers/filter", {})
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return warning("worker", f"the server has no work pool {POOL}", REGISTER)
        if error.code in (401, 403):
            return problem("worker", "the server asks for a password", f"set {AUTH}=USER:PASSWORD")
        return warning("worker", f"{url} answers {error.code}", "see the server's log")
    except OSError as error:
        return warning("worker", f"the server gave no answer ({error})", "see the server's log")
    online = [w["name"] for w in workers if w["status"] == "ONLINE"]
    if not online:
        mend = f"mmbert serve, or prefect worker start --pool {POOL} --type process"
        return warning("worker", f"none is online in the work pool {POOL}", mend)
    return ok("worker", f"{len(online)} online in the work pool {POOL}")


def _server_of(store: Store) -> str | None:
    """The API's URL of a server whose home is in the store."""
    home = local_path(join(store.url, "prefect"))
    for process in psutil.process_iter(["environ"]):
        environment = process.info["environ"] or {}
        if home is not None and environment.get(HOME) == str(home) and environment.get(URL):
            return str(environment[URL])
    return None


def _ask(url: str, body: dict[str, str] | None = None) -> list[dict[str, str]]:
    headers = {"Content-Type": "application/json"}
    if auth := os.environ.get(AUTH):
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
        found: list[dict[str, str]] = json.load(answer)
        return found
