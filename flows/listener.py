"""A program of one's own that listens on a port: on a free one, or on the next where another was
faster.

Between the look for a free port and the moment at which a Prefect server binds it lie some 20 s,
so two services that start together find the same one free. What answers there is taken for one's
own only when a process of one's own listens; the one that came too late starts again elsewhere.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from errno import EACCES, EADDRINUSE

import psutil

from flows.tether import Tied, living
from schemas.errors import UserError

LOOPBACK = "127.0.0.1"
NUM_PORTS = 100
POLL_S = 0.1
PATIENCE_S = 180.0


@dataclass
class Listener:
    """Started at once; `start` starts the program on a port. `port` is where the look for a free
    one begins, then the one that was found."""

    start: Callable[[int], Tied]
    host: str
    port: int
    tied: Tied = field(init=False)

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.port = free_port(self.host, self.port)
        self.tied = self.start(self.port)

    def listens(self) -> bool:
        """Whether a process of this program's listens on its port."""
        for pid in living(self.tied.family):
            with suppress(psutil.Error):
                for open_ in psutil.Process(pid).net_connections("inet"):
                    if open_.status == psutil.CONN_LISTEN and open_.laddr.port == self.port:
                        return True
        return False

    def wait(self, is_up: Callable[[], bool], waiting: Callable[[int], None]) -> bool:
        """Until it is up; False when it ends of itself or takes too long. `waiting` gets the
        number of looks before.

        One that ends while its port is free is started once more: who was faster may have ended,
        too, since.
        """
        may_end = True
        for tick in range(int(PATIENCE_S / POLL_S)):
            if is_up():
                return True
            waiting(tick)
            try:
                self.tied.process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                continue
            if free_port(self.host, self.port) == self.port:
                if not may_end:
                    return False
                may_end = False
            self._begin()
        return False


def free_port(host: str, first: int) -> int:
    """The first free port from `first` on."""
    for port in range(first, first + NUM_PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno in (EADDRINUSE, EACCES):
                    continue
                raise UserError(
                    f"--host {host} is no IPv4 address or name of this machine "
                    f"({error.strerror or error}); leave it out, or give one that is"
                ) from None
            return port
    raise UserError(
        f"ports {first} to {first + NUM_PORTS - 1} of {host} are all taken; free one, set "
        "PREFECT_API_URL to a server that runs, or use --no-server"
    )
