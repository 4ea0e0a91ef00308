"""Commands over models that exist.

    mmbert merge MODEL MODEL ... --out DIR      mmbert export SOURCE DIR
    mmbert init-small BASE DIR                  mmbert card RUN_FOLDER | MANIFEST
    mmbert evaluate RUN[/MODEL] | DIR --run RUN

`register(app)` adds them to the command line; heavy imports wait until one of them runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.options import STORE, AsJson, StoreUrl
from schemas.errors import UserError

Output = Annotated[
    Path, typer.Argument(help="The directory to write; replaced if it holds a model.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    commands: dict[str, Callable[..., None]] = {
        "merge": merge,
        "init-small": init_small,
        "export": export,
        "card": card,
        "evaluate": evaluate,
    }
    for name, command in commands.items():
        app.command(name)(command)


def merge(
    models: Annotated[list[Path], typer.Argument(help="Two or more; for ema the latest last.")],
    out: Annotated[Path, typer.Option("--out", help="The directory to write.")],
    method: Annotated[
        Literal["ties", "average", "ema"], typer.Option(help="What is made of them.")
    ] = "ties",
    base: Annotated[
        Path | None, typer.Option(help="ties: the model that the others started from.")
    ] = None,
    weight: Annotated[
        list[float] | None, typer.Option(help="Of a model, in their order; 1 by default.")
    ] = None,
    density: Annotated[float, typer.Option(help="ties: the share of changes that stays.")] = 0.2,
    lam: Annotated[float, typer.Option("--lambda", help="ties: scales the merged change.")] = 1.0,
    trim_scope: Annotated[
        Literal["tensor", "model"], typer.Option(help="ties: what the share is taken of.")
    ] = "tensor",
    decay: Annotated[float, typer.Option(help="ema: what a model counts of the next one.")] = 0.8,
) -> None:
    """Merge models of one architecture into one: TIES, a weighted or an exponential average."""
    from flows.console import console
    from trainer.convert.merge import merge as merge_models

    with console.stage("merge") as stage:
        merge_models(
            models,
            out,
            method,
            weights=weight or None,
            density=density,
            lam=lam,
            base=base,
            trim_scope=trim_scope,
            decay=decay,
            progress=stage.progress,
        )
        stage.result = f"{len(models)} models by {method}: {out}"


def init_small(
    source: Annotated[Path, typer.Argument(help="The base model, a transformers directory.")],
    output: Output,
    hidden_size: Annotated[int, typer.Option(help="Channels of the small model.")] = 384,
    num_heads: Annotated[int, typer.Option(help="Its heads.")] = 6,
    rescale: Annotated[
        str, typer.Option(help="none, sqrt, linear or a factor for sums over fewer channels.")
    ] = "sqrt",
) -> None:
    """Start a small model from a base one: every second channel, whole heads, all layers."""
    from flows.console import console
    from trainer.convert.shrink import init_small as write_small

    with console.stage("init-small") as stage:
        write_small(source, output, hidden_size, num_heads, _rescale(rescale))
        stage.result = f"{hidden_size} channels, {num_heads} heads: {output}"


def export(
    source: Annotated[
        Path, typer.Argument(help="A run's checkpoint, a Composer .pt, a transformers directory.")
    ],
    output: Output,
    theta: Annotated[
        float | None, typer.Option(help="Rotary base of global attention, and of local.")
    ] = None,
    theta_local: Annotated[
        float | None, typer.Option(help="Rotary base of local attention where it differs.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="A folder with tokenizer.json, where the source has none.")
    ] = None,
    dtype: Annotated[Literal["fp32", "bf16"], typer.Option(help="Of the weights.")] = "fp32",
) -> None:
    """Write a model as a transformers directory; its logits are compared before it appears."""
    import torch

    from flows.console import console
    from trainer.convert.rewrite import rewrite

    with console.stage("export") as stage:
        kind = torch.float32 if dtype == "fp32" else torch.bfloat16
        rewrite(source, output, theta, theta_local, tokenizer, kind)
        stage.result = str(output)


def card(
    what: Annotated[
        str, typer.Argument(help="The folder of a run, or a manifest: RECIPE/PHASE, an id, a path.")
    ],
    store: Annotated[
        str | None,
        typer.Option("--store", help="Where it lies: ./mmbert-store, or the one around a run."),
    ] = None,
) -> None:
    """Draw again: a run's report, its models' cards and its data cards, or a manifest's card."""
    from flows.console import console
    from flows.data_cards import draw_manifest, draw_run
    from schemas.store import Store
    from trainer.report.draw import redraw

    with console.stage("card") as stage:
        if Path(what, "run.json").is_file():
            run, place = Path(what), Store.at(store) if store else None
            stage.result = str(redraw(run, place))
            draw_run(run, place)
        else:
            stage.result = draw_manifest(
                Store.at(store or os.environ.get("MMBERT_STORE", STORE)), what
            )


def evaluate(
    model: Annotated[
        str,
        typer.Argument(help="A run, RUN/MODEL, or the folder of any model with --run."),
    ],
    run: Annotated[
        str | None, typer.Option("--run", help="The run whose held-out text is scored.")
    ] = None,
    store: StoreUrl = STORE,
    as_json: AsJson = False,
) -> None:
    """Bits per byte of a run's held-out text by language, beside the run's other models."""
    from flows.console import console, drawn
    from flows.evaluating import evaluate as score
    from flows.evaluating import meant

    console.leave_stdout(as_json)
    found = score(store, *meant(model, run))
    if as_json:
        print(json.dumps({"model": str(found.folder), **found.score.model_dump(mode="json")}))
        return
    console.say()
    console.show(drawn(found.table))


def _rescale(text: str) -> float | Literal["none", "sqrt", "linear"]:
    match text:
        case "none" | "sqrt" | "linear":
            return text
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--rescale {text}: give none, sqrt, linear or a factor") from None
