"""`mmbert`: the command line. Commands are thin: they make a `Job` and call a flow.

Exit codes: 0 done, 2 bad input (one sentence: what, where, what mends it), 130 stopped by Ctrl-C,
1 anything else (one sentence and where the traceback lies; MMBERT_DEBUG=1 prints it).
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from flows import (
    doctor_command,
    holding_commands,
    mixture_commands,
    model_commands,
    store_commands,
    tokenizer_commands,
    trace_commands,
)
from flows.data_commands import data_app
from flows.options import STORE, AsJson, ProfileStore, Recipe, Set, StoreUrl
from schemas.errors import UserError

if TYPE_CHECKING:
    from flows.job import Job

app = typer.Typer(
    help="From raw text in 1,833 languages to a released encoder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
doctor_command.register(app)
holding_commands.register(app)
mixture_commands.register(app)
model_commands.register(app)
store_commands.register(app)
tokenizer_commands.register(app)
trace_commands.register(app)

On = Annotated[str, typer.Option("--on", metavar="PROFILE", help="Where things run.")]
NoServer = Annotated[bool, typer.Option("--no-server", help="Do without Prefect.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train from the start.")]
Phase = Annotated[str | None, typer.Option("--phase", help="Only this phase.")]
NumProcesses = Annotated[
    int | None, typer.Option("--nproc", min=1, help="Training processes, one for each device.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before a large build.")]
Mixtures = Annotated[
    list[str] | None,
    typer.Option("--manifest", metavar="P=NAME", help="Train phase P with a mixture of yours."),
]


@app.command()
def demo(
    store: Annotated[str, typer.Option("--store", help="A folder.")] = "mmbert-demo",
    on: On = "local",
) -> None:
    """The tiny cascade on a sample corpus, through Prefect; minutes on two cores."""
    from flows.demo import run_demo
    from flows.job import load_profile

    run_demo(store, load_profile(on))


@app.command()
def run(
    recipe: Recipe,
    on: On = "local",
    store: ProfileStore = None,
    overrides: Set = None,
    no_server: NoServer = False,
    fresh: Fresh = False,
    nproc: NumProcesses = None,
    manifest: Mixtures = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """All of it: text to shards to mixtures to a model; a rerun does what is left."""
    from flows.commands import run_job

    job = _job(recipe, on, store, overrides, None, fresh, nproc, manifest)
    run_job("run", job, no_server, as_json, yes)


@data_app.command("build")
def data(
    recipe: Recipe,
    on: On = "local",
    store: ProfileStore = None,
    overrides: Set = None,
    phase: Phase = None,
    no_server: NoServer = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Build strata and the manifest of each phase."""
    from flows.commands import run_job

    run_job("data", _job(recipe, on, store, overrides, phase), no_server, as_json, yes)


@app.command()
def train(
    recipe: Recipe,
    on: On = "local",
    store: ProfileStore = None,
    overrides: Set = None,
    phase: Phase = None,
    no_server: NoServer = False,
    fresh: Fresh = False,
    nproc: NumProcesses = None,
    manifest: Mixtures = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Train, on data that is built first where it is not; goes on from the last checkpoint."""
    from flows.commands import run_job

    job = _job(recipe, on, store, overrides, phase, fresh, nproc, manifest)
    run_job("train", job, no_server, as_json, yes)


@app.command()
def plan(
    recipe: Recipe,
    on: On = "local",
    store: ProfileStore = None,
    overrides: Set = None,
    phase: Phase = None,
    every: Annotated[bool, typer.Option("--all", help="List every language.")] = False,
    as_json: AsJson = False,
) -> None:
    """The bill first: what is reused, what is new, and what each language gets."""
    from flows.commands import show_plan

    show_plan(_job(recipe, on, store, overrides, phase), as_json, every)


@app.command()
def sample(
    directory: Annotated[Path, typer.Argument(help="Where to write it.")],
    languages: Annotated[int, typer.Option(help="How many, English included.")] = 24,
    megabytes: Annotated[float, typer.Option(help="Of text.")] = 6.0,
    seed: Annotated[int, typer.Option(help="Another seed, another text.")] = 0,
    from_hub: Annotated[
        bool, typer.Option("--from-hub", help="Real text: the first documents of each.")
    ] = False,
) -> None:
    """Write a sample corpus in the formats of FineWeb2, DCLM and Dolmino."""
    from flows.console import console
    from flows.inputs import require_hub
    from pipelines.sample import write_sample
    from pipelines.sample.from_hub import write_hub_sample
    from schemas.figures import num_bytes

    if from_hub:
        require_hub()
        with console.stage("sample") as stage:
            taken = write_hub_sample(
                directory, languages, megabytes, lambda text: stage.progress(text, 0, 0)
            )
            stage.result = (
                f"{taken.documents:,} documents in {taken.languages} languages, "
                f"{num_bytes(taken.bytes)} of text in {directory}"
            )
        return
    with console.stage("sample") as stage:
        try:
            report = write_sample(
                directory, languages, megabytes, seed, lambda text: stage.progress(text, 0, 0)
            )
        except OSError as error:
            raise UserError(
                f"cannot write {directory}: {error.strerror or error}; name a folder that you may "
                "write in, or free space"
            ) from error
        stage.result = (
            f"{report.documents:,} documents in {report.languages} languages, "
            f"{num_bytes(report.bytes)} of text in {directory}"
        )


@app.command()
def serve(
    store: StoreUrl = STORE,
    recipes: Annotated[
        Path | None, typer.Option("--recipes", metavar="DIR", help="Your recipes, for the forms.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", max=65_000, help="Of the UI; else 4200 or a free one.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Who may reach it; else only this machine.")
    ] = "127.0.0.1",
) -> None:
    """A UI in which data is built, mixed and trained, and pages of the store, until Ctrl-C."""
    from flows.serve.supervisor import serve

    serve(store, recipes, host, port)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    typer.echo(f"mmbert {version_of('mmbert')}")


def _job(
    recipe: str,
    on: str,
    store: str | None,
    overrides: list[str] | None,
    phase: str | None = None,
    fresh: bool = False,
    nproc: int | None = None,
    manifests: list[str] | None = None,
) -> Job:
    from flows.job import Job, choose_store, load_profile
    from flows.named_mixtures import parse

    profile = load_profile(on)
    if nproc is not None:
        profile = profile.model_copy(update={"nproc": nproc})
    return Job(
        recipe=recipe,
        overrides=tuple(overrides or ()),
        store=choose_store(store, profile),
        phase=phase,
        manifests=parse(manifests or ()),
        fresh=fresh,
        profile=profile,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script; returns the exit code."""
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, _stop)
    logging.getLogger().addHandler(logging.NullHandler())  # libraries do not talk to the user
    try:
        app(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
        if code == 130:
            anew = " without --fresh" if "--fresh" in (arguments or sys.argv) else ""
            print(f"mmbert: stopped; the same command{anew} goes on from here", file=sys.stderr)
        return code
    except UserError as error:
        _say(str(error))
        return 2
    except Exception as error:
        if os.environ.get("MMBERT_DEBUG"):
            raise
        log = Path(tempfile.gettempdir()) / time.strftime("mmbert-%Y%m%d-%H%M%S.log")
        log.write_text(traceback.format_exc(), encoding="utf-8")
        _say(f"{error or type(error).__name__} (traceback in {log})")
        return 1
    return 0


def console_script() -> None:
    """`mmbert`: `main`, then the end of the process without the destructors of C++ libraries.

    A library's thread that is still joinable then aborts the process (seen in 6 of 45 runs, with
    exit code 134 in place of 2).
    """
    code = main()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(sentence: str) -> None:
    print(f"mmbert: {' '.join(sentence.split())}", file=sys.stderr)
