"""The command line is quick to answer, and ends with the exit code and sentence it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows import cli

HEAVY = ("torch", "transformers", "prefect", "apache_beam", "datatrove", "pyarrow", "rich.live")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom flows.cli import main\nassert main(['--help']) == 0\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "run", "plan", "data", "train", "sample", "serve", "tokenizer"):
        assert command in done.stdout


def test_without_a_server_prefect_is_not_imported(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom flows.cli import main\n"
        f"main(['data', 'tiny', '--no-server', '--store', {str(tmp_path)!r}])\n"
        "import flows.cascade, flows.commands, flows.demo\n"
        "assert 'prefect' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_usage_error_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "tiny", "--colour", "blue"]) == 2
    assert "--colour" in capsys.readouterr().err


def test_anything_else_is_one_sentence_and_a_traceback_on_disk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("the disk\nburns")

    monkeypatch.setattr(cli, "_job", broken)
    assert cli.main(["plan", "tiny"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("mmbert: the disk burns (traceback in ")
    assert told.count("\n") == 1
    log = Path(told.strip().removesuffix(")").rpartition(" in ")[2])
    assert "RuntimeError" in log.read_text()
    log.unlink()


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_job", interrupted)
    assert cli.main(["plan", "tiny"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert cli.main(["train", "tiny", "--fresh"]) == 130
    assert "the same command without --fresh goes on" in capsys.readouterr().err
