"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

STORE = "mmbert-store"

Recipe = Annotated[str, typer.Argument(help="A packaged recipe (tiny), a path or a URL.")]
StoreUrl = Annotated[
    str, typer.Option("--store", envvar="MMBERT_STORE", help="A folder or any fsspec URL.")
]
ProfileStore = Annotated[
    str | None,
    typer.Option(
        "--store", envvar="MMBERT_STORE", help=f"Default: that of the profile, else {STORE}."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
