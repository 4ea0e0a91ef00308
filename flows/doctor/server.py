"""A Prefect server: the one that PREFECT_API_URL names, or one that runs for the store."""

from __future__ import annotations

import base64
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import TypeVar

import psutil
from pydantic import BaseModel, TypeAdapter

from flows.doctor.finding import Finding, ok, problem, warning
from flows.serve.deployments import POOL
from flows.server import API_URL as URL
from flows.server import is_address
from schemas.store import Store, join, local_path

T = TypeVar("T")
HOME, AUTH = "PREFECT_HOME", "PREFECT_API_AUTH_STRING"
PATIENCE_S = 3.0
REGISTER = "mmbert serve, or on a server of your own: python -m flows.serve.register STORE"
EXAMPLE = f"set {URL}=http://HOST:4200/api, or unset it"
UNREADABLE = (ValueError, HTTPException)  # an answer that is none of Prefect's


class Worker(BaseModel):
    name: str
    status: str


def server_findings(store: Store) -> Iterator[Finding]:
    given = os.environ.get(URL)
    url = (given or _server_of(store) or "").rstrip("/")
    if not url:
        yield ok("server", "none runs; commands start one of their own, mmbert serve the UI")
        return
    if not is_address(url):
        yield problem("server", f"{URL}={given} is not the address of a server", EXAMPLE)
        return
    try:
        _ask(f"{url}/health", TypeAdapter(bool))
    except (urllib.error.HTTPError, *UNREADABLE):
        told = f"what answers at {url} is not Prefect's API"
        yield problem("server", told, EXAMPLE if given else "see server.log")
        return
    except OSError as error:
        told = f"no answer at {url} ({getattr(error, 'reason', None) or error})"
        yield problem("server", told, f"start it, or unset {URL}" if given else "see server.log")
        return
    yield ok("server", f"answers at {url}")
    yield _pool(url)


def _pool(url: str) -> Finding:
    try:
        workers = _ask(f"{url}/work_pools/{POOL}/workers/filter", TypeAdapter(list[Worker]), b"{}")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return warning("worker", f"the server has no work pool {POOL}", REGISTER)
        if error.code in (401, 403):
            return problem("worker", "the server asks for a password", f"set {AUTH}=USER:PASSWORD")
        return warning("worker", f"{url} answers {error.code}", "see the server's log")
    except UNREADABLE:
        return warning("worker", f"{url} tells of its workers in words unknown here", "update it")
    except OSError as error:
        return warning("worker", f"the server gave no answer ({error})", "see the server's log")
    online = [worker.name for worker in workers if worker.status == "ONLINE"]
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


def _ask(url: str, kind: TypeAdapter[T], body: bytes | None = None) -> T:
    headers = {"Content-Type": "application/json"}
    if auth := os.environ.get(AUTH):
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    asked = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
        return kind.validate_json(answer.read())
