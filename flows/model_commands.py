"""Commands over models that exist, and over data that others tokenised.

    mmbert merge MODEL MODEL ... --out DIR      mmbert export SOURCE DIR
    mmbert init-small BASE DIR                  mmbert import-mds URL --language fao_Latn

`register(app)` adds them to the command line; heavy imports wait until one of them runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

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
        "import-mds": import_mds,
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


def import_mds(
    url: Annotated[str, typer.Argument(help="A folder with index.json and its shards.")],
    language: Annotated[str, typer.Option(help="As FineWeb2 writes it: fao_Latn.")],
    source: Annotated[str, typer.Option(help="The source that the stratum belongs to.")],
    recipe: Annotated[str, typer.Option(help="Whose tokenizer and seed it is for.")],
    tier: Annotated[str, typer.Option(help="all, or heldout.")] = "all",
    store: Annotated[
        str, typer.Option("--store", envvar="MMBERT_STORE", help="A folder or any fsspec URL.")
    ] = "mmbert-store",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe; may be repeated."),
    ] = None,
    on: Annotated[str, typer.Option("--on", metavar="PROFILE", help="Where things run.")] = "local",
) -> None:
    """Take published pre-tokenised MDS shards as a stratum, without tokenising again."""
    from flows import stages
    from flows.console import amount, console
    from flows.job import Job, load_profile
    from pipelines.import_mds import import_mds as import_stratum
    from schemas.stratum import StratumName

    profile = load_profile(on)
    job = Job(recipe=recipe, overrides=tuple(overrides or ()), store=store, profile=profile)
    chosen = job.load()
    if source.split("/")[0] not in chosen.sources:
        raise UserError(
            f"--source {source}: recipe {chosen.name} has the sources {', '.join(chosen.sources)}; "
            "name one of these"
        )
    # A tokenizer that is read needs no text; a trained one is known by the text it learned from.
    origins = stages.find_text(chosen) if chosen.tokenizer.train else ()
    sealed = stages.tokenizer(chosen, job.at(), origins)
    name = StratumName(source=source, language=language, tier=tier)
    with console.stage("import-mds") as stage:
        stratum = import_stratum(
            url,
            job.at(),
            sealed,
            name,
            stage.progress,
            seed=chosen.seed,
            workers=profile.num_workers,
        )
        ledger = stratum.ledger
        gone = "".join(f", {count:,} {reason}" for reason, count in ledger.dropped.items())
        stage.result = (
            f"{name} {stratum.id}: {amount(stratum.tokens)} tokens, "
            f"{ledger.kept:,} of {ledger.read:,} documents{gone}"
        )


def _rescale(text: str) -> float | Literal["none", "sqrt", "linear"]:
    match text:
        case "none" | "sqrt" | "linear":
            return text
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--rescale {text}: give none, sqrt, linear or a factor") from None
