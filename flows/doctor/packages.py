"""Python and packages, against what pyproject.toml asks for and what was tested together.

A package outside of its range is a problem; one that differs from infra/constraints.txt is only
mentioned. Ranges do not say whether Prefect's server starts (FastAPI after 0.150 breaks it at
import, with every range met), so that import is tried, in a process of its own.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from flows.doctor.finding import Finding, ok, problem, warning

CHECKOUT = Path(__file__).parents[2]
IMPORT = "import flows.prefect_server, prefect.server.api.server"
PATIENCE_S = 60.0
INSTALL = "pip install -c infra/constraints.txt -e . (in the checkout)"
MOST = 4  # that are named


def package_findings(checkout: Path = CHECKOUT) -> Iterator[Finding]:
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield _python(project["requires-python"])
    yield _ranges([Requirement(line) for line in project["dependencies"]])
    yield _pins(checkout / "infra" / "constraints.txt")


def _python(wanted: str) -> Finding:
    found = platform.python_version()
    if found in SpecifierSet(wanted):
        return ok("python", found)
    return problem("python", f"{found}, and {wanted} is needed", "make clean install")


def _ranges(requirements: list[Requirement]) -> Finding:
    wrong = []
    for wanted in requirements:
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        found = installed(wanted.name)
        if found is None:
            wrong.append(f"{wanted.name} is missing")
        elif not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} {found} is not {wanted.specifier}")
    if wrong:
        return problem("packages", _some(wrong), INSTALL)
    return ok("packages", f"{len(requirements)} in the ranges of pyproject.toml")


def _pins(constraints: Path) -> Finding:
    lines = [line.split(";")[0].strip() for line in constraints.read_text().splitlines()]
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    found = {name: installed(name) for name in pins}
    other = [f"{n} {v} ({pins[n]})" for n, v in found.items() if v and not _same(v, pins[n])]
    if other:
        told = f"{len(other)} differ from the versions tested together: {_some(other)}"
        return warning("pins", told, INSTALL)
    return ok("pins", f"{sum(map(bool, found.values()))} as tested together")


def _same(found: str, pinned: str) -> bool:
    """torch's builds carry their device: 2.13.0+cpu."""
    return found.split("+")[0] == pinned.split("+")[0]


def installed(name: str) -> str | None:
    try:
        return version(canonicalize_name(name))
    except PackageNotFoundError:
        return None


def _some(told: list[str]) -> str:
    return ", ".join(told[:MOST]) + (f", and {len(told) - MOST} more" if len(told) > MOST else "")


@contextmanager
def import_of_prefect(statement: str | None = None) -> Iterator[Callable[[], Finding]]:
    """Start the import; what it gives back waits for its end."""
    home = tempfile.TemporaryDirectory()  # Prefect makes its own where it is not, at import
    process = subprocess.Popen(
        [sys.executable, "-c", statement or IMPORT],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PREFECT_HOME": home.name},
    )

    def finding() -> Finding:
        try:
            _, told = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            told = f"its import takes more than {PATIENCE_S:.0f} s"
            return warning("prefect", told, "try again when the machine is less busy")
        if process.returncode == 0:
            return ok("prefect", f"{installed('prefect')}, its server can be imported")
        why = (told.strip().splitlines() or ["no reason told"])[-1]
        fastapi = installed("fastapi")
        return problem(
            "prefect",
            f"its server does not start, with fastapi {fastapi}: {why}",
            f"{INSTALL}; until then --no-server",
        )

    try:
        yield finding
    finally:
        process.kill()
        process.wait()
        home.cleanup()
