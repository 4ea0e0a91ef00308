"""A server of one's own: flows run on it, its home lies in the store, and nothing outlives it."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flows.server import home_in, prefect_server
from pipelines.sample import write_sample
from schemas.errors import UserError
from schemas.store import Store

CLIENT = """\
import sys
from flows.cli import main
sys.exit(main(sys.argv[1:]))
"""

PHASES = ("pretrain", "extend", "decay-eng", "decay-cont", "decay-all")
SOURCES = ("fineweb2", "dclm", "dolmino")


def test_a_flow_on_its_own_server(tmp_path: Path) -> None:
    """One server for all claims: a fresh database takes 20 s."""
    write_sample(tmp_path / "sample", languages=3, megabytes=0.4)
    sets = [f"--set=sources.{n}.path={tmp_path / 'sample' / n}" for n in SOURCES]
    sets += ["--set=tokenizer.train.vocab_size=1000"]
    for phase in PHASES:
        sets += [f"--set=phases.{phase}.{key}_tokens=50000" for key in ("pool", "budget")]
    store = tmp_path / "store"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment["HOME"] = str(tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, "data", "tiny", "--store", str(store), *sets],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    address = next(line for line in done.stdout.splitlines() if "Prefect UI" in line).split()[-1]
    assert address.startswith("http://127.0.0.1:")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=1)

    with sqlite3.connect(store / "prefect" / "prefect.db") as database:
        runs = database.execute("select name, state_type from flow_run").fetchall()
        tasks = database.execute("select name, state_type from task_run").fetchall()
        artifacts = dict(database.execute("select key, data from artifact").fetchall())
    assert runs == [("data tiny", "COMPLETED")]
    assert {state for _, state in tasks} == {"COMPLETED"}
    assert {"tokenizer", "build strata", "manifests"} <= {name for name, _ in tasks}
    mixtures = [f"mixture-tiny-{phase}" for phase in PHASES]
    assert artifacts.keys() == {"progress-tiny-data", "ledger-tiny", *mixtures}
    assert all("](data:image/svg+xml;base64," in artifacts[key] for key in mixtures)
    assert not (tmp_path / "home" / ".prefect").exists()


def test_a_server_that_is_given_is_used_and_none_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with prefect_server(Store.at(str(tmp_path))) as given:
        assert given.tied is None
        assert given.ui_url == "http://127.0.0.1:9"
        with pytest.raises(UserError, match="no Prefect server answers at PREFECT_API_URL"):
            given.ready()


@pytest.mark.parametrize("given", ["127.0.0.1:4200", "http://:4200/api", "http://host:port/api"])
def test_what_is_no_address_of_a_server_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", given)
    with (
        pytest.raises(UserError, match=f"PREFECT_API_URL={given} is not the address of a server"),
        prefect_server(Store.at(str(tmp_path))),
    ):
        pass


def test_a_store_elsewhere_needs_a_given_server(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.at("memory://elsewhere")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(UserError, match="set PREFECT_API_URL"):
        home_in(store)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert home_in(store).is_dir()
