"""The house: schemas <- pipelines, schemas <- trainer, all three <- flows; and light beginnings."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = {"schemas", "pipelines", "trainer", "flows"}
MAY_IMPORT = {
    "schemas": {"schemas"},
    "pipelines": {"schemas", "pipelines"},
    "trainer": {"schemas", "trainer"},
    "flows": HOUSE,
}
HEAVY = {"torch", "prefect", "apache_beam", "datatrove", "transformers"}


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(HOUSE))
def test_imports_point_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        wrong = imported(path) & HOUSE - MAY_IMPORT[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_schemas_import_nothing_heavy() -> None:
    for path in (ROOT / "schemas").glob("*.py"):
        assert not imported(path) & HEAVY, path


@pytest.mark.parametrize("module", ["flows.cli", "trainer.phase"])
def test_command_line_and_loader_start_light(module: str) -> None:
    code = f"import sys, {module}; print(sorted(set(sys.modules) & {HEAVY!r}))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_tests_and_infra_are_not_packaged() -> None:
    settings = (ROOT / "pyproject.toml").read_text()
    assert 'include = ["schemas*", "pipelines*", "trainer*", "flows*"]' in settings
