"""What several promises are about."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.begun import Begun, begin_run, copy_of


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    return begin_run(tmp_path_factory.mktemp("begun"))


@pytest.fixture
def begun(straight: Begun, tmp_path: Path) -> Begun:
    return copy_of(straight, tmp_path)
