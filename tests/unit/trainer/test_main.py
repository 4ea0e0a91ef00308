"""What nobody foresaw ends a rank at once, with one sentence that says where the traceback is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from trainer import __main__ as command
from trainer.distributed import Ranks


class Left(Exception):
    """`os._exit`: nothing after it runs."""


def leave(code: int) -> NoReturn:
    raise Left(code)


@pytest.fixture
def run_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def broken(*arguments: object) -> NoReturn:
        raise RuntimeError("shapes\n  do not fit")

    path = tmp_path / "run.json"
    monkeypatch.setattr(sys, "argv", ["trainer", str(path)])
    monkeypatch.setattr(command, "join", lambda device: Ranks(0, 1, torch.device("cpu")))
    monkeypatch.setattr(command, "open_session", broken)
    monkeypatch.setattr(command.os, "_exit", leave)
    return path


def test_the_traceback_goes_beside_the_run(
    run_json: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Left, match="1"):
        command.main()
    log = run_json.with_name("trainer-error.log")
    told = f"mmbert: RuntimeError: shapes do not fit; the traceback is in {log}\n"
    assert capsys.readouterr().err == told
    assert "Traceback" in log.read_text()


def test_debugging_or_a_folder_that_cannot_be_written_prints_it(
    run_json: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMBERT_DEBUG", "1")
    with pytest.raises(Left):
        command.main()
    monkeypatch.delenv("MMBERT_DEBUG")
    monkeypatch.setattr(sys, "argv", ["trainer", str(run_json.with_name("none") / "run.json")])
    with pytest.raises(Left):
        command.main()
    printed = capsys.readouterr().err
    assert printed.count("Traceback") == printed.count("mmbert: RuntimeError: shapes") == 2
    assert list(run_json.parent.iterdir()) == []
