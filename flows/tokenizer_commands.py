"""Commands over tokenizers.

    mmbert tokenizer train RECIPE                            a recipe's own, sealed in the store
    mmbert tokenizer check TOKENIZER ... [--text PATH ...]   is it the same in every engine, and
                                                             what does it cost each language?

`register(app)` adds them to the command line; heavy imports wait until one of them runs.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.options import STORE, AsJson, Recipe, Set, StoreUrl

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.fertility import Checked, Fertility

MOST_SPACED, MOST_UNSPACED = 20, 8  # languages of the table


def register(app: typer.Typer) -> None:
    """Add `mmbert tokenizer ...`."""
    group = typer.Typer(help="Tokenizers.", no_args_is_help=True, rich_markup_mode=None)
    group.command("train")(train)
    group.command("check")(check)
    app.add_typer(group, name="tokenizer")


def train(
    recipe: Recipe,
    store: StoreUrl = STORE,
    overrides: Set = None,
) -> None:
    """Train the recipe's tokenizer and seal it in the store."""
    from flows.commands import train_tokenizer
    from flows.job import Job

    train_tokenizer(Job(recipe=recipe, overrides=tuple(overrides or ()), store=store))


def check(
    tokenizers: Annotated[
        list[str], typer.Argument(help="tokenizer.json, a SentencePiece .model, a folder or a URL.")
    ],
    text: Annotated[
        list[Path] | None,
        typer.Option(help="Files or folders of text; made-up text in 24 languages without it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a tokenizer's engines, and show what each language costs, the dearest first."""
    from flows.console import console
    from pipelines.fertility import check as check_tokenizer
    from pipelines.texts import texts_of

    console.leave_stdout(as_json)
    found = []
    with _some_text(text) as paths:
        for path in tokenizers:
            with console.stage("check") as stage:
                checked = check_tokenizer(path, texts_of(paths))
                stage.result = (
                    f"{path}: {checked.num_pieces:,} pieces; {checked.num_texts:,} texts in "
                    f"{len(checked.languages):,} languages"
                )
            found.append(checked)
            if not as_json:
                _show(checked)
    if as_json:
        print(json.dumps({"tokenizers": [_public(checked) for checked in found]}))


@contextmanager
def _some_text(paths: list[Path] | None) -> Iterator[list[Path]]:
    if paths:
        yield paths
        return
    from pipelines.sample import write_sample

    with tempfile.TemporaryDirectory(prefix="mmbert-text-") as folder:
        write_sample(Path(folder), 24, 1.0)
        yield [Path(folder) / "fineweb2"]


def _show(checked: Checked) -> None:
    from flows.console import console

    for engine, difference in checked.engines.items():
        if difference is None:
            console.say(f"  = {engine}: the ids of {checked.truth} on every text")
        else:
            console.say(
                f"  ! {engine}: other ids than {checked.truth}, first in {difference.language}, "
                f"{difference.place}, from token {difference.token:,}: "
                f"{' '.join(map(str, difference.ids))} instead of "
                f"{' '.join(map(str, difference.true_ids))}"
            )
    if checked.missing:
        console.say(f"  - {checked.missing}")
    console.say()
    console.show(_table(checked))
    console.say()


def _table(checked: Checked) -> Table:
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, title_justify="left")
    grid.add_column("  language", no_wrap=True)
    for column in ("tokens a word", "a character", "bytes a token", "byte fallback", "unknown"):
        grid.add_column(column, justify="right")
    rows = checked.worst_first
    spaced = [one for one in rows if one.is_spaced]
    unspaced = [one for one in rows if not one.is_spaced]
    for some, most in ((spaced, MOST_SPACED), (unspaced, MOST_UNSPACED)):
        for one in some[:most]:
            grid.add_row(*_cells(one))
        if len(some) > most:
            grid.add_row(f"  and {len(some) - most:,} more (--json)", end_section=True)
    if len(rows) > 1:
        grid.add_row(*_cells(checked.total()), style="bold")
    return grid


def _cells(one: Fertility) -> tuple[str, ...]:
    from schemas.language import language_name

    code = one.language.split("_")[0]
    name = language_name(code)
    words = f"{one.tokens / max(1, one.words):.2f}" if one.is_spaced else ""
    tokens = max(1, one.tokens)
    return (
        f"  {name} {one.language}" if name != code else f"  {one.language}",
        words,
        f"{one.tokens / max(1, one.characters):.2f}",
        f"{one.num_bytes / tokens:.2f}",
        _percent(one.byte_tokens / tokens),
        _percent(one.unknown_tokens / tokens),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share else ""


def _public(checked: Checked) -> dict[str, object]:
    return {
        "tokenizer": checked.name,
        "pieces": checked.num_pieces,
        "truth": checked.truth,
        "engines": {
            engine: {"equal": difference is None}
            | ({"first": asdict(difference)} if difference else {})
            for engine, difference in checked.engines.items()
        },
        "texts": checked.num_texts,
        "languages": [one.public() for one in checked.worst_first],
    }
