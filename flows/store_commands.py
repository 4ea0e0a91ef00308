"""Commands over a store: strata that others tokenised, and whether everything is as it was written.

    mmbert import-mds URL --source NAME --language fao_Latn --recipe RECIPE
    mmbert verify [MANIFEST]

`register(app)` adds them to the command line; heavy imports wait until one of them runs.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from flows.options import STORE, AsJson, Set, StoreUrl
from schemas.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("import-mds")(import_mds)
    app.command("verify")(verify)


def import_mds(
    url: Annotated[str, typer.Argument(help="A folder with index.json and its shards.")],
    language: Annotated[str, typer.Option(help="As FineWeb2 writes it: fao_Latn.")],
    source: Annotated[str, typer.Option(help="The recipe's source that the stratum is part of.")],
    recipe: Annotated[str, typer.Option(help="Whose tokenizer and seed it is for.")],
    tier: Annotated[str, typer.Option(help="all, or heldout.")] = "all",
    store: StoreUrl = STORE,
    overrides: Set = None,
    on: Annotated[str, typer.Option("--on", metavar="PROFILE", help="Where things run.")] = "local",
) -> None:
    """Take published pre-tokenised MDS shards as a stratum, without tokenising again."""
    from flows import stages
    from flows.console import console
    from flows.job import Job, load_profile
    from pipelines.import_mds import import_mds as import_stratum
    from schemas.figures import amount
    from schemas.stratum import HELDOUT, TRAIN, StratumName

    profile = load_profile(on)
    job = Job(recipe=recipe, overrides=tuple(overrides or ()), store=store, profile=profile)
    chosen = job.load()
    settings = chosen.sources.get(source.split("/")[0])
    if settings is None:
        raise UserError(
            f"--source {source}: recipe {chosen.name} has the sources {', '.join(chosen.sources)}; "
            "name one of these"
        )
    if tier not in (TRAIN, HELDOUT):
        raise UserError(f"--tier {tier}: give {TRAIN}, which is trained on, or {HELDOUT}")
    sealed = stages.tokenizer(chosen, job.at(), stages.text_to_learn(chosen))
    name = StratumName(source=source, language=language, tier=tier)
    with console.stage("import-mds") as stage:
        stratum = import_stratum(
            url,
            job.at(),
            sealed,
            name,
            stage.progress,
            seed=chosen.seed,
            licence=settings.licence,
            workers=profile.build,
        )
        ledger = stratum.ledger
        gone = "".join(f", {count:,} {reason}" for reason, count in ledger.dropped.items())
        stage.result = (
            f"{name} {stratum.id}: {amount(stratum.tokens)} tokens, "
            f"{ledger.kept:,} of {ledger.read:,} documents{gone}"
        )
    if settings.format != "imported":
        table = f"[sources.{source.split('/')[0]}]"
        console.say(f'  the recipe reads it where {table} has format = "imported" and no path')


def verify(
    manifest: Annotated[
        str | None,
        typer.Argument(
            help="RECIPE/PHASE, the start of an id, or a path; the whole store if none."
        ),
    ] = None,
    store: StoreUrl = STORE,
    as_json: AsJson = False,
) -> None:
    """Re-read and re-hash a manifest and all that it names, or everything; 1 if it is damaged."""
    from flows.console import console
    from pipelines.verify import verify_manifest, verify_store
    from schemas.figures import num_bytes
    from schemas.find_manifest import find_manifest
    from schemas.manifest import store_of
    from schemas.store import Store, exists

    console.leave_stdout(as_json)
    place = Store.at(store)
    if not exists(place.url):
        raise UserError(f"there is no store {place.url}; name one with --store")
    url = find_manifest(place, manifest) if manifest is not None else None
    with console.stage("verify") as stage:
        if url is None:
            report = verify_store(place, stage.progress)
        else:
            report = verify_manifest(store_of(url), url, stage.progress)
        stage.result = url or place.url
    for problem in report.problems:
        console.say(f"  ✗ {problem}")
    if report.num_undigested:
        console.say(
            f"  {report.num_undigested:,} files or folders come without digests, from an earlier "
            "version: only their content was compared"
        )
    number = len(report.problems)
    found = f"{number:,} problem{'s' if number > 1 else ''}" if number else "no problem"
    console.say(f"  {found} in {report.num_files:,} files, {num_bytes(report.num_bytes)}, re-read")
    if as_json:
        told = {
            "problems": list(report.problems),
            "files": report.num_files,
            "bytes": report.num_bytes,
            "undigested": report.num_undigested,
        }
        print(json.dumps(told))
    if report.problems:
        raise typer.Exit(1)
