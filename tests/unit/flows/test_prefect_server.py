"""What several send at once to a server on SQLite is all taken; Prefect's own loses most of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flows.orchestrate import leave_prefect
from flows.server import FIRST_PORT, start_server

AT_ONCE, RUNS = 4, 40


def test_no_form_is_lost_that_is_sent_while_others_are(tmp_path: Path) -> None:
    server = start_server(tmp_path, "127.0.0.1", FIRST_PORT)
    try:
        server.ready()

        def post(path: str, body: object) -> Any:  # noqa: ANN401  (JSON)
            request = urllib.request.Request(
                f"{server.api_url}{path}",
                data=json.dumps(body).encode(),
                headers={"content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)

        flow = post("/flows/", {"name": "remix"})
        form = {"name": "remix", "flow_id": flow["id"], "enforce_parameter_schema": False}
        made = post("/deployments/", form)

        def send(number: int) -> int:
            try:
                run = post(f"/deployments/{made['id']}/create_flow_run", {})
                post(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "RUNNING"}})
            except urllib.error.HTTPError as error:
                return error.code
            return 0

        with ThreadPoolExecutor(AT_ONCE) as pool:
            refused = [code for code in pool.map(send, range(RUNS)) if code]
        assert refused == []
    finally:
        leave_prefect()
        assert server.tied is not None
        server.tied.end()
