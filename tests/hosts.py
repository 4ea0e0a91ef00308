"""Two hosts on this machine: network namespaces with names of their own and a cable between them.

    with two_hosts(folder) as (a, b):
        process = a.start([sys.executable, "-m", "trainer", ...])
        b.lose_power()

They share disks and cores. It takes root and `ip netns`; where they are missing, the test is
skipped and says so twice.
"""

from __future__ import annotations

import os
import signal
import subprocess
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

# Of a host: its name, and the names of all, which no other process sees.
ENTER = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'


@dataclass(frozen=True)
class Host:
    name: str
    address: str
    namespace: str
    names: Path  # its /etc/hosts

    def words(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` on this host."""
        inside = ["unshare", "--uts", "sh", "-c", ENTER, "sh", self.name, str(self.names)]
        return ["ip", "netns", "exec", self.namespace, *inside, *command]

    def start(
        self, command: Sequence[str], printed: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with printed.open("ab") as output:
            return subprocess.Popen(
                self.words(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def lose_power(self) -> None:
        """Every process of it ends, and nobody is told: the cable is cut first."""
        _ip("-n", self.namespace, "link", "set", "cable", "down")
        self.kill()

    def kill(self) -> None:
        told = subprocess.run(
            ["ip", "netns", "pids", self.namespace], capture_output=True, text=True
        )
        for pid in map(int, told.stdout.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def plug_in(self) -> None:
        _ip("-n", self.namespace, "link", "set", "cable", "up")


@contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    names = folder / "hosts"
    hosts = [
        Host(name, f"10.213.77.{number}", f"mmbert-{os.getpid()}-{name}", names)
        for number, name in enumerate(("first", "second"), 1)
    ]
    names.write_text("127.0.0.1 localhost\n" + "".join(f"{h.address} {h.name}\n" for h in hosts))
    try:
        _lay(hosts)
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            host.kill()
            with suppress(FileNotFoundError):
                subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True)


def _lay(hosts: Sequence[Host]) -> None:
    try:
        for host in hosts:
            _ip("netns", "add", host.namespace)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
        one, other = hosts
        ends = ("cable", "netns", one.namespace), ("cable", "netns", other.namespace)
        _ip("link", "add", *ends[0], "type", "veth", "peer", "name", *ends[1])
        for host in hosts:
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "cable")
            host.plug_in()
        subprocess.run(one.words(["true"]), check=True, capture_output=True, text=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        reason = f"no two hosts here, which take root and `ip netns` ({told.strip()}): not tried"
        warnings.warn(reason, stacklevel=4)
        pytest.skip(reason)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
