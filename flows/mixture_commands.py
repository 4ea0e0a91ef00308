"""Commands over mixtures: another one of what is built, and what is different in it.

    mmbert remix RECIPE --phase P --set phases.P.tau=0.4 --name flatter [--continue RUN]
    mmbert diff RECIPE/P RECIPE/P/flatter

`register(app)` adds them to the command line; heavy imports wait until one of them runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from flows.options import STORE, AsJson, Recipe, Set, StoreUrl

if TYPE_CHECKING:
    from pipelines.difference import Difference, LanguageChange

Every = Annotated[bool, typer.Option("--all", help="List every language.")]
MOST_LANGUAGES = 12


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("remix")(remix)
    app.command("diff")(diff)


def remix(
    recipe: Recipe,
    phase: Annotated[str, typer.Option("--phase", help="The phase that is mixed anew.")],
    overrides: Set = None,
    name: Annotated[
        str | None, typer.Option(help="What to call it, beside main, which a build makes.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--continue", metavar="RUN", help="A run in the phase: it changes from where it stands."
        ),
    ] = None,
    store: StoreUrl = STORE,
    every: Every = False,
    as_json: AsJson = False,
) -> None:
    """Mix what is built anew: no token is touched; the difference is shown."""
    from flows.console import console
    from flows.job import Job
    from flows.remixing import remix as mix_anew
    from flows.remixing import told

    console.leave_stdout(as_json)
    job = Job(recipe=recipe, overrides=tuple(overrides or ()), store=store, phase=phase)
    made = mix_anew(job, name, run)
    if as_json:
        print(json.dumps(made.public()))
        return
    console.say(f"{made.manifest.recipe}/{phase}: {made.old} -> {made.called}")
    difference = made.difference
    for line in lines(difference, every) if difference else ():
        console.say(line)
    console.say()
    for line in told(made, store):
        console.say(line)


def diff(
    before: Annotated[str, typer.Argument(help="RECIPE/PHASE[/NAME], an id, or a path.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    store: StoreUrl = STORE,
    every: Every = False,
    as_json: AsJson = False,
) -> None:
    """Two manifests, language by language: what each gets, and which settings differ."""
    from flows.console import console
    from pipelines.difference import compare
    from schemas import manifest as manifests
    from schemas.find_manifest import find_manifest
    from schemas.store import Store

    console.leave_stdout(as_json)
    old, new = (manifests.load(find_manifest(Store.at(store), ref)) for ref in (before, after))
    difference = compare(old, new)
    if as_json:
        told = {"before": old.id, "after": new.id} | difference.public()
        print(json.dumps(told))
        return
    console.say(f"{old.recipe}/{old.phase} {old.id} -> {new.recipe}/{new.phase} {new.id}")
    for line in lines(difference, every):
        console.say(line)


def lines(difference: Difference, every: bool, rest_is: str = "--all lists them") -> Iterator[str]:
    """A difference for people: settings, languages by their change, who came and went; `rest_is`
    says where languages are that do not fit."""
    from schemas.figures import setting

    if not difference.settings and not difference.changed:
        yield "  no difference"
        return
    width = max([20, *(len(found.name) + 2 for found in difference.settings)])
    for found in difference.settings:
        yield f"  {found.name:<{width}}{setting(found.before)} -> {setting(found.after)}"
    changed = difference.changed
    if not changed:
        return
    yield ""
    yield f"  {'':<20}{'tokens':>18}{'share %':>18}{'rows':>20}{'epochs':>20}"
    shown = changed if every else changed[:MOST_LANGUAGES]
    for language in shown:
        yield _line(language)
    rest = len(changed) - len(shown)
    if rest:
        yield f"  and {rest:,} more languages: {rest_is}"
    for what, codes in difference.moves:
        if codes:
            few = codes if every else codes[:MOST_LANGUAGES]
            more = f" and {len(codes) - len(few):,} more" if len(codes) > len(few) else ""
            yield f"  {what:<6}{len(codes):,}: {' '.join(few)}{more}"


def _line(found: LanguageChange) -> str:
    from schemas.figures import amount
    from schemas.language import language_name

    before, after = found.before, found.after
    name = language_name(found.language)
    name = name if len(name) <= 14 else f"{name[:13]}."

    def both(width: int, old: str, new: str) -> str:
        return f"{old if before else '-'} -> {new if after else '-'}".rjust(width)

    return (
        f"  {found.language:<5}{name:<15}"
        + both(18, *(amount(p.tokens) if p else "" for p in (before, after)))
        + both(18, *(f"{100 * p.share:.3g}" if p else "" for p in (before, after)))
        + both(20, *(_count(p.rows) if p else "" for p in (before, after)))
        + both(20, *(f"{p.epochs:.3g}" if p else "" for p in (before, after)))
    )


def _count(rows: int) -> str:
    from schemas.figures import amount

    return f"{rows:,}" if rows < 1_000_000 else amount(rows)
