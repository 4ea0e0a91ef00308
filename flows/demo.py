"""`mmbert demo`: the tiny cascade on a sample corpus, through Prefect.

The UI's address and the bill come first, while the server is still starting; then a line for each
stage, the held-out table, and three answers beside those of the untrained twin. A second demo finds
everything in the store and only shows it.
"""

from __future__ import annotations

from pathlib import Path

from flows import cascade
from flows.bill import bill
from flows.console import console, drawn
from flows.fill_mask import fill_masks, sample_probes
from flows.job import Job, Profile
from flows.plan import Plan, make_plan
from flows.scores import read_events, score_table
from flows.server import prefect_server
from pipelines.sample import write_sample
from schemas.errors import UserError
from schemas.figures import num_bytes
from schemas.store import local_path

LANGUAGES = 24
MEGABYTES = 6.0
SOURCES = ("fineweb2", "dclm", "dolmino")
NUM_PROBES = 3


def run_demo(store: str, profile: Profile) -> None:
    folder = local_path(store)
    if folder is None:
        raise UserError(f"{store}: the demo needs a folder of this machine; give --store FOLDER")
    folder = folder.absolute()
    sample = folder / "sample"
    job = Job(
        recipe="tiny",
        overrides=tuple(f"sources.{name}.path={sample / name}" for name in SOURCES),
        store=str(folder),
        profile=profile,
    )
    console.say("mmbert demo: mmBERT's cascade, tiny, on a sample corpus")
    if (sample / "sample.json").is_file():
        plan = make_plan(job)
        if plan.trained:
            console.say("everything is in the store already, so all of it is reused:")
            _show_bill(plan)
            _show_end(plan, store)
            return
    with prefect_server(job.at()) as server:
        console.say(f"  Prefect UI  {server.ui_url}  (answers in about 20 s)")
        _write_sample(sample)
        _show_bill(make_plan(job))
        server.ready()
        cascade.run(job)
    _show_end(make_plan(job), store)


def _write_sample(folder: Path) -> None:
    with console.stage("sample") as stage:
        report = write_sample(
            folder, LANGUAGES, MEGABYTES, progress=lambda text: stage.progress(text, 0, 0)
        )
        stage.result = f"{report.languages} languages, {num_bytes(report.bytes)} of made text"


def _show_bill(plan: Plan) -> None:
    console.heading("The bill")
    for line in bill(plan):
        console.say(line)
    console.say()


def _show_end(plan: Plan, store: str) -> None:
    assert plan.run_url is not None
    folder = Path(plan.run_url).parent
    table = score_table(read_events(folder / "log.jsonl"))
    if table is not None:
        console.say()
        console.show(drawn(table))
    console.heading("Fill-mask")
    released = plan.recipe.released
    for answer in fill_masks(folder / "models", released, sample_probes()[:NUM_PROBES]):
        console.say(f"  {answer.text}   ({answer.language}; the text says: {answer.expected})")
        console.say(f"      trained    {answer.trained}")
        console.say(f"      untrained  {answer.untrained}")
    console.say()
    console.say(f"  model       {folder / 'models' / released}")
    console.say(f"  reopen it   mmbert serve --store {store}")
