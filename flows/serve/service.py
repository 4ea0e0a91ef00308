"""A program that `mmbert serve` keeps running: started again when it ends, with all that it left.

What it prints goes to NAME.log in Prefect's home. One that ends again and again is given up.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.tether import Tied, tied

SOON_S = 60.0
MOST_ENDS = 5  # in a row, each within SOON_S of its start


@dataclass
class Service:
    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    home: Path
    grace_s: float
    sign: signal.Signals = signal.SIGTERM  # what it gets at its end, and its children a SIGTERM
    tied: Tied | None = None
    started_s: float = 0.0
    ends: list[int] = field(default_factory=list)  # statuses of the ends in a row

    @property
    def log(self) -> Path:
        return self.home / f"{self.name}.log"

    def start(self) -> Tied:
        self.started_s = time.monotonic()
        with self.log.open("ab") as output:
            self.tied = tied(self.command, self.grace_s, output, self.environment, self.sign)
        return self.tied

    def has_ended(self) -> bool:
        return self.tied is not None and self.tied.process.poll() is not None

    def start_again(self) -> int:
        """Returns the status that it ended with; RuntimeError when it ended too often."""
        assert self.tied is not None
        self.tied.end()  # had its tether been killed, its processes would still be there
        if time.monotonic() - self.started_s > SOON_S:
            self.ends.clear()
        self.ends.append(self.tied.process.returncode)
        if len(self.ends) >= MOST_ENDS:
            raise RuntimeError(
                f"the {self.name} ended {MOST_ENDS} times in a row; {self.log} says why"
            )
        self.start()
        return self.ends[-1]

    def end(self) -> None:
        if self.tied is not None:
            self.tied.end()
