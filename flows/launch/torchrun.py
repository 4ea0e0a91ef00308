"""torchrun on this machine, and the words of it that every launcher shares.

    python -m trainer RUN.json                                                one process
    python -m torch.distributed.run --standalone --nproc-per-node N ...       several
    python -m torch.distributed.run --nnodes M --node-rank K ...              several hosts

On several hosts each runs the same command, over a store that all of them see, and finds its place
by which address of the profile's list is its own. They meet at the first. torchrun's other way to
meet (c10d) needs no list, but waits for ever once the host is lost at which they met.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from flows.job import Profile
from schemas.errors import UserError

GRACE_S = 300  # from SIGTERM to SIGKILL: time for a step and a checkpoint
JOIN_S = 900  # that a host waits for the others


def command(run_json: Path, phase: str | None, profile: Profile) -> list[str]:
    words = trainer(run_json, phase, profile)
    if profile.train.hosts:
        place = own_place(profile.train.hosts)
        meet = ["--node-rank", str(place), *meet_at(profile.train.hosts[0], profile.train.port)]
        return [sys.executable, *torchrun(profile), *meet, *words]
    if profile.num_processes > 1:
        return [sys.executable, *torchrun(profile), "--standalone", *words]
    return [sys.executable, *words]


def torchrun(profile: Profile) -> list[str]:
    """Words after `python`; what follows says where the hosts meet."""
    return [
        *("-m", "torch.distributed.run"),
        *("--nnodes", str(profile.train.num_hosts)),
        *("--nproc-per-node", str(profile.num_processes)),
        *("--max-restarts", "0"),
        *("--shutdown-timeout", str(GRACE_S)),
    ]


def trainer(run_json: Path, phase: str | None, profile: Profile) -> list[str]:
    words = ["-m", "trainer", str(run_json), "--threads", str(profile.num_threads)]
    if phase is not None:
        words += ["--phase", phase]
    if profile.micro_batch_tokens:
        words += ["--micro-batch-tokens", str(profile.micro_batch_tokens)]
    for tracker in profile.track:
        words += ["--track", tracker]
    return words


def settings(profile: Profile) -> dict[str, str]:
    """Environment variables of a training process."""
    found = {
        # glibc would give every large tensor back to the kernel and fault it in again: 4-31 %.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
        # Threads that spin while they wait are 3 times slower beside anything else that runs.
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": str(profile.num_threads),  # else torchrun prints a banner and takes 1
        "PYTHONUNBUFFERED": "1",
    }
    if hosts := profile.train.hosts:
        # gloo would take the address of the host's name, which is often a loopback one.
        found["GLOO_SOCKET_IFNAME"] = _interface_of(_address(hosts[own_place(hosts)]))
    return found


def meet_at(host: str, port: int | str) -> list[str]:
    return ["--master-addr", host, "--master-port", str(port), "--rdzv-conf", f"timeout={JOIN_S}"]


def log_name(profile: Profile) -> str:
    """The file beside run.json that gets what training prints; each host has its own."""
    hosts = profile.train.hosts
    return f"trainer-{hosts[own_place(hosts)]}.log" if hosts else "trainer.log"


def own_place(hosts: Sequence[str]) -> int:
    """Which of `hosts` this is. UserError where it is none of them."""
    for place, host in enumerate(hosts):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((_address(host), 0))  # only an address of one's own can be bound
            return place
    raise UserError(
        f"[train] hosts: none of {', '.join(hosts)} is an address of this machine; list all hosts "
        "that run this command by the addresses at which they reach each other"
    )


def _address(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError:
        raise UserError(
            f"[train] hosts: no host {host!r} is known here; name each by its address"
        ) from None


def _interface_of(address: str) -> str:
    cards = psutil.net_if_addrs().items()
    return next(name for name, places in cards if address in {place.address for place in places})
