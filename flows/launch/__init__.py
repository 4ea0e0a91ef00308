"""Where torchrun runs: what a profile's table [train] comes to, as one command for this machine.

    local         torchrun here; on several hosts, each runs the same command     torchrun.py
    slurm         a job that is submitted, waited for and cancelled               slurm.py
    kubernetes    an indexed Job that is applied, waited for and deleted          kubernetes.py

Whatever it is, the command lives as long as the training, ends with its status, and ends it on
SIGTERM: whoever runs it (flows/training.py) need not know where the training is.
"""

from __future__ import annotations

from pathlib import Path

from flows.job import Profile


def command(run_json: Path, phase: str | None, profile: Profile) -> list[str]:
    """Trains a run, or one phase of it. Raises UserError where the profile does not fit."""
    # Imported here, since two of them are run as modules, too.
    match profile.train.launcher:
        case "local":
            from flows.launch.torchrun import command
        case "slurm":
            from flows.launch.slurm import command
        case "kubernetes":
            from flows.launch.kubernetes import command
    return command(run_json, phase, profile)
