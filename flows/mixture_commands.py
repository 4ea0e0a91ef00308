"""Commands over mixtures: another one of what is built, and what is different in it.

    mmbert remix RECIPE --phase P --set phases.P.tau=0.4 --name flatter [--continue RUN]
    mmbert diff RECIPE/P RECIPE/P/flatter

`register(app)` adds them to the command line; heavy imports wait until one of them runs.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from flows.options import STORE, AsJson, Recipe, Set, StoreUrl
from schemas.errors import UserError

if TYPE_CHECKING:
    from pipelines.difference import Difference, LanguageChange
    from schemas.digest import Json

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
    from flows import going_on
    from flows.console import console
    from flows.job import Job
    from pipelines.difference import compare
    from pipelines.manifests import publish_manifest
    from pipelines.remix import decide_remix
    from schemas import manifest as manifests
    from schemas.find_manifest import MAIN, named_manifest

    console.leave_stdout(as_json)
    if name is not None and (name == MAIN or not re.fullmatch(r"[a-z][a-z0-9-]*", name)):
        raise UserError(
            f"--name {name}: a name is made of a-z, 0-9 and '-', and {MAIN} is what a build makes; "
            "choose another"
        )
    settings = tuple(overrides or ())
    job = Job(recipe=recipe, overrides=settings, store=store, phase=phase)
    chosen, place = job.chosen(job.load()), job.at()
    build = _command("data", recipe, store, [f"--phase {phase}"], settings)
    standing = going_on.standing(place, chosen, phase, run) if run else None
    decided = decide_remix(chosen, phase, place, build, standing)
    main = named_manifest(place, chosen.name, phase, MAIN)
    before = standing.manifest if standing else manifests.load(main) if main else None
    url = publish_manifest(place, decided, name)
    manifest = decided.manifest
    own = [text for text in settings if not _is_mixed(phase, text, standing is not None)]
    others = going_on.beside(place, chosen, phase, run) if run else {}
    named = {phase: name or manifest.id} | others
    train = _command("train", recipe, store, [f"--manifest {p}={m}" for p, m in named.items()], own)
    difference = compare(before, manifest) if before else None
    if as_json:
        told: dict[str, Json] = {
            "manifest": manifest.id,
            "name": name,
            "url": url,
            "difference": difference.public() if difference else None,
            "train": train,
        }
        print(json.dumps(told))
        return
    old = f"{standing.manifest.id}, window {standing.next_window:,} on" if standing else MAIN
    console.say(f"{chosen.name}/{phase}: {old} -> {name or manifest.id}")
    for line in lines(difference, every) if difference else ():
        console.say(line)
    console.say()
    console.say(f"manifest {url}")
    console.say(f"card     mmbert card {chosen.name}/{phase}/{name or manifest.id} --store {store}")
    console.say(f"train    {train}")


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


def lines(difference: Difference, every: bool) -> Iterator[str]:
    """A difference for people: settings, languages by their change, who came and went."""
    if not difference.settings and not difference.changed:
        yield "  no difference"
        return
    for setting in difference.settings:
        yield f"  {setting.name:<20}{_told(setting.before)} -> {_told(setting.after)}"
    changed = difference.changed
    if not changed:
        return
    yield ""
    yield f"  {'':<20}{'tokens':>18}{'share %':>18}{'rows':>20}{'epochs':>20}"
    shown = changed if every else changed[:MOST_LANGUAGES]
    for found in shown:
        yield _line(found)
    rest = len(changed) - len(shown)
    if rest:
        yield f"  and {rest:,} more languages: --all lists them"
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


def _told(value: Json) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)[:40]


def _is_mixed(phase: str, override: str, of_run: bool) -> bool:
    """Whether a --set is a matter of the manifest, which `train --manifest` takes it from.

    What a run leaves out is one, too: its manifests say it.
    """
    from flows.named_mixtures import OF_MANIFEST, READ

    key = override.partition("=")[0].strip()
    if of_run and key.startswith("exclusions."):
        return True
    mixed = "|".join((*OF_MANIFEST, *READ))
    return re.match(rf"phases\.{re.escape(phase)}\.({mixed})\b", key) is not None


def _command(
    name: str, recipe: str, store: str, options: Sequence[str], overrides: Sequence[str]
) -> str:
    """A command as a person would type it."""
    parts = ["mmbert", name, recipe, *options]
    parts += [f"--set {shlex.quote(text)}" for text in overrides]
    return " ".join([*parts, *([f"--store {shlex.quote(store)}"] if store != STORE else [])])
