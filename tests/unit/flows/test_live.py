"""What a run page shows of a training is true while it trains, and costs the training nothing.

The server is real, and goes away in the middle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.live import Drawing, Drawn, _Sender, bar, live
from tests.runs import make_run, phase_settings

TRAINING = """\
import json, os, sys, threading
from flows import live, live_training
from flows.live_training import show_trained, show_training
from flows.orchestrate import flow
from flows.scores import parse
from flows.server import prefect_server
from schemas import run as runs
from schemas.store import Store
from tests.viewed import log

live.TICK_S = live.BAR_EVERY_S = live_training.CURVES_EVERY_S = 0.05
live.SHARE_OF_TIME = live.PATIENCE_S = 1
run, run_url = runs.load(sys.argv[1]), sys.argv[1]

def artifacts():
    from prefect.client.orchestration import get_client
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/filter", json={}).json()
    return {a["key"]: [a["type"], a["data"], a["description"]] for a in found}

def until(key, place, true):
    while not (key in artifacts() and true(artifacts()[key][place])):
        threading.Event().wait(0.05)

with prefect_server(Store.at(sys.argv[2])) as server:
    server.ready()

    @flow("train", "train")
    def train():
        events = [parse(line) for line in log(8000).replace('"only"', '"pretrain"').splitlines()]
        with show_training(run, run_url) as shown:
            for event in events[:20]:
                shown.take(event)
            shown.progress("half of it", 1, 2)
            until("progress-tests-training", 1, lambda part: part == 50.0)
            until("training-tests", 2, lambda told: "step 18" in told)
            for event in events[20:]:
                shown.take(event)
            shown.progress("all of it", 2, 2)
        print(json.dumps(artifacts()))
        server.tied.end()
        show_trained(run, run_url, events)
        print("went on", flush=True)
        os._exit(0)  # Prefect would wait long for the server, to tell it of the end

    train()
"""


@pytest.mark.slow
def test_a_training_is_shown_while_it_trains_and_outlives_the_server(tmp_path: Path) -> None:
    run_json = make_run(tmp_path / "store", {"pretrain": phase_settings()})
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MMBERT_"))}
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, run_json, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    *_, shown, went_on = done.stdout.splitlines()
    assert went_on == "went on"
    artifacts = json.loads(shown)
    assert artifacts.keys() == {"progress-tests-training", "training-tests"}
    assert artifacts["progress-tests-training"] == ["progress", 100.0, "all of it"]
    kind, data, told = artifacts["training-tests"]
    assert kind == "markdown"
    assert "step 30: loss 3.000" in told
    assert data.count("](data:image/svg+xml;base64,") == 2
    assert "Faroese" in data


def test_without_a_server_nothing_is_drawn() -> None:
    drawn: list[Drawn] = []

    def draw() -> Drawn:
        drawn.append(Drawn("x"))
        return drawn[-1]

    told: list[int] = []
    with live(Drawing("a", "markdown", 0.0, draw)), bar("r", "data", lambda *x: told.append(x[1])):
        pass
    assert not drawn
    with bar("r", "data", lambda what, done, of: told.append(done)) as progress:
        progress("building", 3, 4)
    assert told == [3]


def test_what_could_not_be_sent_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr("flows.live.PATIENCE_S", 0.01)
    monkeypatch.setattr("flows.live._Sender._send_one", lambda self, drawing: answers.wait(60))
    sender = _Sender((Drawing("curves", "markdown", 0.0, lambda: None),), None, None)
    sender.start()
    sender.finish()
    assert sender.problem.startswith("the server took more than")
    answers.set()
    sender.join(60)


def test_what_had_nothing_to_show_is_seen_as_soon_as_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[str] = []
    seen = threading.Event()

    def send(self: object, drawing: Drawing) -> bool:
        tries.append(drawing.key)
        if len(tries) == 3:
            seen.set()
        return len(tries) >= 3

    monkeypatch.setattr("flows.live.TICK_S", 0.01)
    monkeypatch.setattr("flows.live._Sender._send_one", send)
    sender = _Sender((Drawing("curves", "markdown", 3600.0, lambda: None),), None, None)
    sender.start()
    assert seen.wait(60)
    sender.finish()
    assert len(tries) == 4  # and once more at the end
