"""One thing that was looked at, how it is, and what mends it."""

from __future__ import annotations

from typing import Literal

from schemas.ledger import Frozen


class Finding(Frozen):
    name: str
    state: Literal["ok", "warning", "problem"]
    told: str  # what was found
    mend: str = ""  # a command, or an edit; empty where nothing is to be done


def ok(name: str, told: str) -> Finding:
    return Finding(name=name, state="ok", told=told)


def warning(name: str, told: str, mend: str) -> Finding:
    return Finding(name=name, state="warning", told=told, mend=mend)


def problem(name: str, told: str, mend: str) -> Finding:
    return Finding(name=name, state="problem", told=told, mend=mend)
