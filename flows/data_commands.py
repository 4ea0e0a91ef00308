"""`mmbert data RECIPE` builds; `mmbert data erase` overwrites documents that must go.

mmbert data tiny --phase pretrain             the same as `mmbert data build tiny ...`
mmbert data erase ID URL ... | --from FILE
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from flows.options import STORE, AsJson, StoreUrl
from schemas.errors import UserError

if TYPE_CHECKING:
    from typer._click.core import Context

MOST_TOLD = 10


class BuildByDefault(TyperGroup):
    """A group whose first word may be left out where it is `build`."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["build", *args]
        return super().parse_args(ctx, args)


data_app = typer.Typer(
    cls=BuildByDefault,
    help="Build strata and the manifest of each phase (`mmbert data RECIPE`); erase documents.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@data_app.command("erase")
def erase(
    names: Annotated[list[str] | None, typer.Argument(help="Doc ids or URLs of documents.")] = None,
    listed: Annotated[
        Path | None, typer.Option("--from", help="A file of them, one a line.")
    ] = None,
    store: StoreUrl = STORE,
    as_json: AsJson = False,
) -> None:
    """Overwrite the tokens of documents in place, and tell who holds them."""
    from flows.console import console
    from pipelines.erase import erase as erase_documents
    from pipelines.takedowns import read_names
    from schemas.store import Store, exists

    console.leave_stdout(as_json)
    wanted = list(names or ())
    if listed is not None:
        if not listed.is_file():
            raise UserError(f"--from {listed}: no such file; give one id or URL a line")
        wanted += read_names({str(listed): listed.read_bytes()})
    if not wanted:
        raise UserError("say what to erase: doc ids or URLs, or --from FILE with one a line")
    place = Store.at(store)
    if not exists(place.url):
        raise UserError(f"there is no store {place.url}; name one with --store")
    with console.stage("erase") as stage:
        erasure = erase_documents(place, wanted, stage.progress)
        tokens = sum(document.num_tokens for document in erasure.documents)
        stage.result = f"{len(erasure.documents):,} documents, {tokens:,} tokens overwritten"
    if as_json:
        print(json.dumps(asdict(erasure)))
        return
    for document in erasure.documents[:MOST_TOLD]:
        console.say(f"    {document.doc_id}  {document.stratum}, {document.num_tokens:,} tokens")
    if len(erasure.documents) > MOST_TOLD:
        console.say(f"    and {len(erasure.documents) - MOST_TOLD:,} more, which --json names")
    if erasure.spills:
        console.say(f"  {erasure.spills:,} spills deleted; a build makes them again where needed")
    for name in erasure.unknown:
        console.say(f"  ! no document has {name}")
    for holder in erasure.holders:
        runs = f"; a mixture of {', '.join(holder.runs)}" if holder.runs else ""
        excluded = f", {holder.excluded:,} it excludes" if holder.excluded else ""
        console.say(f"  {holder.manifest}: {holder.documents:,} it delivers{excluded}{runs}")
    for run in sorted({run for holder in erasure.holders for run in holder.runs}):
        name = erasure.documents[0].doc_id
        command = shlex.join(["mmbert", "trace", run, "--doc", name, "--store", store])
        console.say(f"  when a run has seen it: {command}")
    console.say("  list them under [exclusions] takedowns, so that no later mixture delivers them")
