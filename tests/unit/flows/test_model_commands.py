"""Merge, init-small and export from the command line; mistakes end with 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from flows import cli, model_commands
from trainer.convert import to_transformers
from trainer.initialise import build
from trainer.model import ModelConfig

CONFIG = ModelConfig(64, 32, 4, 4, 24)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch):
    """The console script with these commands, whether or not it has them already."""
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    model_commands.register(app)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)
    return cli.main


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    folders = []
    for seed in range(3):
        to_transformers.export(build(CONFIG, seed), tmp_path / f"m{seed}", 1e4, 1e4)
        folders.append(str(tmp_path / f"m{seed}"))
    return folders


def test_models_are_merged_shrunk_and_exported(main, models: list[str], tmp_path: Path) -> None:
    ties = ["--base", models[2], "--density", "0.5", "--lambda", "0.9", "--trim-scope", "model"]
    assert main(["merge", *models[:2], "--out", str(tmp_path / "ties"), *ties]) == 0
    average = ["--method", "average", "--weight", "1", "--weight", "3"]
    assert main(["merge", *models[:2], "--out", str(tmp_path / "mean"), *average]) == 0
    sizes = ["--hidden-size", "16", "--num-heads", "2", "--rescale", "1.5"]
    assert main(["init-small", models[0], str(tmp_path / "small"), *sizes]) == 0
    theta = ["--theta", "160000", "--dtype", "bf16"]
    assert main(["export", str(tmp_path / "small"), str(tmp_path / "out"), *theta]) == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["hidden_size"], config["global_rope_theta"]) == (16, 160_000.0)
    assert config["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["merge", "m0", "m1", "--out", "o"], "ties needs a base"),
        (["merge", "m0", "--out", "o", "--method", "ema"], "at least two models"),
        (["merge", "m0", "m1", "--out", "o", "--method", "sum"], "--method"),
        (["merge", "m0", "none", "--out", "o", "--method", "ema"], "config.json does not exist"),
        (["init-small", "m0", "o", "--hidden-size", "24"], "divided by one whole number"),
        (["init-small", "m0", "o", "--rescale", "much"], "--rescale much"),
        (["export", "x.pt", "o"], "--theta 10000"),
        (["card", "m0"], "has no manifest m0; give RECIPE/PHASE"),
    ],
)
def test_a_mistake_is_one_sentence_and_2(
    main,
    models: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, typer\nfrom flows import model_commands\napp = typer.Typer()\n"
        "model_commands.register(app)\n"
        "heavy = {'torch', 'transformers', 'apache_beam', 'datatrove', 'pyarrow', 'prefect'}\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("merge", "init-small", "export", "card"):
        assert command in done.stdout
