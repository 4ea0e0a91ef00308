"""`mmbert serve` ends with all that it started, whichever way it ends, and keeps to its machine."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.listener import LOOPBACK
from flows.server import FIRST_PORT, start_server
from schemas.find_manifest import names_of
from schemas.store import Store
from tests.postgres import postgres
from tests.serving import (
    Served,
    built_store,
    only_run,
    saved_step,
    serving,
    steps,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serve")]
NUM_RUNS = 20
SENDS = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('10.78.0.1', 9))"
REMIXES = """\
import sys
from pathlib import Path
from tests.serving import serving
with serving(Path(sys.argv[1])) as served:
    run = served.start("remix", {"name": "flatter", "tau": 0.3})
    served.wait_for_end(run)
    assert served.end() == 0
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_store(tmp_path_factory.mktemp("built"))


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "store"))


def begin_training(served: Served) -> str:
    run = served.start("train")
    served.wait(run, "Training")
    until(lambda: steps(only_run(served.store)) > 0, "it trains", lambda: served.story(run))
    return run


def goes_on(store: Path, run: str, saved: int) -> None:
    """At the next start of the service, from its checkpoint."""
    with serving(store) as served:
        until(lambda: steps(only_run(store)) > saved, "it goes on", lambda: served.story(run))
        served.cancel(run)


def let_days_pass(store: Path) -> None:
    """As if the machine had been off: what Prefect waits for was due days ago."""
    earlier = 'update automation_bucket set "end" = datetime("end", \'-2 days\')'
    with sqlite3.connect(store / "prefect" / "prefect.db") as database:
        assert database.execute(earlier).rowcount


def test_ctrl_c_leaves_a_checkpoint_and_no_process_and_the_run_goes_on_at_the_next_start(
    store: Path,
) -> None:
    with serving(store) as served:
        run = begin_training(served)
        assert served.end() == 0
        assert served.left() == {}
        saved = saved_step(only_run(store))
        assert saved > 0
        assert "ended" in served.printed.read_text()
    goes_on(store, run, saved)


def test_a_service_that_is_killed_leaves_a_checkpoint_and_no_process_and_loses_no_run(
    store: Path,
) -> None:
    with serving(store) as served:
        run = begin_training(served)
        served.process.kill()
        served.process.wait()
        until(lambda: not served.left(), "nothing is left", lambda: str(served.commands()))
    saved = saved_step(only_run(store))
    assert saved > 0
    let_days_pass(store)
    goes_on(store, run, saved)


def test_a_server_of_ones_own_is_used_and_left_alone(store: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    own = start_server(home, LOOPBACK, FIRST_PORT)
    assert own.own is not None
    try:
        assert own.own.wait(own.answers, lambda tick: None)
        with serving(store, environment={"PREFECT_API_URL": own.api_url}) as served:
            assert served.address() == own.ui_url
            assert not [w for w in served.commands().values() if "flows.prefect_server" in w]
            run = served.start("remix", {"name": "flatter", "tau": 0.3})
            served.wait_for_end(run)
            assert served.end() == 0
            assert served.left() == {}
        assert own.answers()
    finally:
        own.own.tied.end()


def test_two_services_that_start_at_once_have_a_server_and_a_viewer_each(
    store: Path, tmp_path: Path
) -> None:
    stores = (store, Path(shutil.copytree(store, tmp_path / "other")))
    with ExitStack() as stack, ThreadPoolExecutor(len(stores)) as pool:
        both = list(pool.map(lambda one: stack.enter_context(serving(one)), stores))
        for name in ("Prefect UI", "store   "):
            assert len({served.address(name) for served in both}) == len(stores)
        for served in both:
            found = served.call("GET", "/deployments/name/train/train")
            assert found["parameters"]["store"] == str(served.store)


def test_twenty_remixes_queued_at_once_all_finish_on_postgres(store: Path, tmp_path: Path) -> None:
    with postgres(tmp_path) as url:
        variables = {"PREFECT_API_DATABASE_CONNECTION_URL": url}
        with serving(store, environment=variables) as served:
            asked = [
                served.start("remix", {"name": f"mix{place}", "tau": place / NUM_RUNS})
                for place in range(NUM_RUNS)
            ]
            for run in asked:
                served.wait_for_end(run)
            assert served.end() == 0
            assert served.left() == {}
    assert not (store / "prefect" / "prefect.db").exists()
    named = names_of(Store.at(str(store)), "tiny", "pretrain")
    assert {f"mix{place}" for place in range(NUM_RUNS)} <= set(named)


def test_others_are_let_in_only_with_a_password(store: Path) -> None:
    auth = {"PREFECT_SERVER_API_AUTH_STRING": "me:secret"}
    with serving(store, "--host", "0.0.0.0", environment=auth) as served:
        run = served.start("remix", {"name": "flatter", "tau": 0.3})
        served.wait_for_end(run)
        served.auth = None
        with pytest.raises(OSError, match="401"):
            served.call("GET", f"/flow_runs/{run}")


@pytest.mark.skipif(
    os.name != "posix" or os.getuid() != 0 or not shutil.which("ip"),
    reason="needs root and `ip netns`, to count what would leave the machine",
)
def test_no_request_leaves_the_machine(store: Path) -> None:
    """In a network of its own whose only way out is a device that counts and goes nowhere."""
    name = f"mmbert{os.getpid()}"
    _ip("netns", "add", name)
    try:
        within = ("netns", "exec", name)
        for line in (
            "ip link set lo up",
            "ip link add out type veth peer name nowhere",
            "sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
            "ip addr add 10.77.0.2/24 dev out",
            "ip link set out up",
            "ip link set nowhere up",
            "ip neigh add 10.77.0.1 lladdr 02:00:00:00:00:01 dev out",
            "ip route add default via 10.77.0.1",
        ):
            _ip(*within, *line.split())
        before = _sent(name)
        script = [sys.executable, "-c", REMIXES, str(store)]
        done = subprocess.run(["ip", *within, *script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert _sent(name) == before
        subprocess.run(["ip", *within, sys.executable, "-c", SENDS], check=True)
        assert _sent(name) > before  # so it does count
    finally:
        _ip("netns", "delete", name)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def _sent(namespace: str) -> int:
    """Packets that were sent by the way out."""
    statistics = "/sys/class/net/out/statistics/tx_packets"
    return int(_ip("netns", "exec", namespace, "cat", statistics))
