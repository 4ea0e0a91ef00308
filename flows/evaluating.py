"""Evaluate: a model beside the others of a run, in bits per byte of the run's held-out text.

    mmbert evaluate tiny-1a2b                the model that the run is about
    mmbert evaluate tiny-1a2b/extend         another one of its models
    mmbert evaluate DIR --run tiny-1a2b      any `transformers` directory with the same tokenizer

In: a run that was trained, at least in part, and a model. Out: the model's score, in a table beside
those that the run's log has of its own models: the flow's artifact `evaluation-RECIPE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows import markdown
from flows.artifacts import key, publish
from flows.console import console
from flows.orchestrate import task
from flows.scores import Event, HeldoutScore, ScoreTable, read_events, score_table
from schemas import run as runs
from schemas.errors import UserError
from schemas.figures import bits
from schemas.find_run import find_run
from schemas.run import Run
from schemas.store import Store


@dataclass(frozen=True)
class Evaluated:
    """A model's score and the table in which it is the last column."""

    name: str
    folder: Path
    run_json: Path
    score: HeldoutScore
    table: ScoreTable

    @property
    def macro(self) -> float | None:
        """The plain mean over languages, in bits per byte."""
        return self.score.macro


def evaluate(store_url: str, run: str, model: str = "") -> Evaluated:
    """Score a model of a run, or of any folder; `model` empty: the one that the run is about.

    Raises UserError for a run or a model that is not there, and for a model of another tokenizer.
    """
    run_json = find_run(Store.at(store_url), run)
    name, folder = _find(run_json, runs.load(str(run_json)), model.strip())
    return _score(name, folder, run_json)


def meant(model: str, run: str | None) -> tuple[str, str]:
    """The run, and the model of it or the folder, that the arguments of the command mean."""
    path = Path(model)
    if run is not None:
        return run, model
    if (path / "run.json").is_file():
        return model, ""
    if (path / "config.json").is_file():
        if path.parent.name == "models" and path.parent.with_name("run.json").is_file():
            return str(path.parent.parent), path.name
        raise UserError(
            f"{model} is a model of no run; name the run whose held-out text is scored with --run"
        )
    if path.is_absolute():
        raise UserError(
            f"{model}: there is no run and no model (neither a run.json nor a config.json); give "
            "the folder of one, or the name of a run"
        )
    named, _, of_run = model.partition("/")
    return named, of_run


@task("score {name}")
def _score(name: str, folder: Path, run_json: Path) -> Evaluated:
    from trainer.evaluate.bits_per_byte import score_folder

    with console.stage("evaluate") as stage:
        stage.progress(f"{name} on held-out text", 0, 0)
        found = score_folder(folder, run_json)
        score = HeldoutScore.model_validate({"phase": name, "step": 0, **found.line()})
        stage.result = f"{name}, {len(score.languages):,} languages"
    others = [e for e in read_events(run_json.with_name("log.jsonl")) if _is_other(e, name)]
    table = score_table([*others, score])
    assert table is not None
    beside = f"{markdown.text(name)} beside the models of {run_json.parent.name}"
    rows = [(language, *map(bits, values)) for language, values in table.rows]
    parts = [markdown.table(("language", *table.columns), rows)]
    told = f"bits per byte of held-out text, smaller is better: {beside}"
    publish(key("evaluation", runs.load(str(run_json)).recipe), told, parts)
    return Evaluated(name, folder, run_json, score, table)


def _is_other(event: Event, name: str) -> bool:
    return isinstance(event, HeldoutScore) and event.phase != name


def _find(run_json: Path, run: Run, model: str) -> tuple[str, Path]:
    """The name and the folder of a model."""
    made = run_json.with_name("models")
    names = [name for name in run.models if (made / name).is_dir()]
    if not model and names:
        return names[-1], made / names[-1]
    if model in names:
        return model, made / model
    if model and Path(model, "config.json").is_file():
        return Path(model).name, Path(model)
    if not names and not model:
        raise UserError(f"run {run_json.parent.name} has no model yet; train it first")
    listed = ", ".join(names) or "none yet; train it first"
    raise UserError(
        f"Model {model}: {run_json.parent} has no such model and there is no such "
        f"folder with a config.json; the run's models are: {listed}"
    )
