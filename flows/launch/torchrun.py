"""torchrun on this machine, and the words of it that every launcher shares.

    python -m trainer RUN.json                                                one process
    python -m torch.distributed.run --standalone --nproc-per-node N ...       several
    python -m torch.distributed.run --nnodes M --rdzv-endpoint HOST:PORT ...  several hosts

On several hosts each runs the same command, over a store that all of them see. They meet at the
profile's `rendezvous`, which is an address of one of them; torchrun would tell whose by comparing
host names, which fails for a second network card: here a host tries whether the address is its own.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from flows.job import Profile
from schemas.errors import UserError

GRACE_S = 300  # from SIGTERM to SIGKILL: time for a step and a checkpoint
JOIN_S = 900  # that a host waits for the others


def command(run_json: Path, phase: str | None, profile: Profile) -> list[str]:
    words = trainer(run_json, phase, profile)
    if profile.train.nodes > 1:
        return [sys.executable, *torchrun(profile), *_meet(run_json, profile), *words]
    if profile.num_processes > 1:
        return [sys.executable, *torchrun(profile), "--standalone", *words]
    return [sys.executable, *words]


def torchrun(profile: Profile) -> list[str]:
    """Words after `python`; what follows says where the hosts meet."""
    return [
        *("-m", "torch.distributed.run"),
        *("--nnodes", str(profile.train.nodes)),
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


def settings(num_threads: int) -> dict[str, str]:
    """Environment variables of a training process."""
    return {
        # glibc would give every large tensor back to the kernel and fault it in again: 4-31 %.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
        # Threads that spin while they wait are 3 times slower beside anything else that runs.
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": str(num_threads),  # else torchrun prints a banner and takes 1
        "PYTHONUNBUFFERED": "1",
    }


def log_name(profile: Profile) -> str:
    """The file beside run.json that gets what training prints; each host has its own."""
    if profile.train.launcher == "local" and profile.train.nodes > 1:
        return f"trainer-{_own_address(_rendezvous(profile))}.log"
    return "trainer.log"


def _meet(run_json: Path, profile: Profile) -> list[str]:
    there = _rendezvous(profile)
    return [
        *("--rdzv-backend", "c10d", "--rdzv-id", run_json.parent.name),
        *("--rdzv-endpoint", profile.train.rendezvous),
        *("--rdzv-conf", f"is_host={int(_is_own(there))},join_timeout={JOIN_S}"),
        *("--local-addr", _own_address(there)),
    ]


def _rendezvous(profile: Profile) -> tuple[str, int]:
    host, _, port = profile.train.rendezvous.rpartition(":")
    try:
        return socket.gethostbyname(host), int(port)
    except OSError:
        raise UserError(
            f"[train] rendezvous = {profile.train.rendezvous!r}: no host {host} is known here; "
            "name an address of one of the hosts"
        ) from None


def _is_own(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address[0], 0))
        except OSError:
            return False
    return True


def _own_address(other: tuple[str, int]) -> str:
    """That by which this host reaches another; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(other)
        except OSError as error:
            raise UserError(
                f"[train] rendezvous: {other[0]} cannot be reached ({error.strerror}); name an "
                "address of one of the hosts"
            ) from error
        address: str = probe.getsockname()[0]
        return address
