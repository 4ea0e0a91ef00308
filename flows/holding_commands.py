"""Commands over what a store holds: a list of it, and the removal of what nothing refers to.

    mmbert ls [--json]
    mmbert gc --keep 3 [--dry-run] [--yes]

`register(app)` adds them to the command line; heavy imports wait until one of them runs.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from flows.options import STORE, AsJson, StoreUrl
from schemas.errors import UserError

if TYPE_CHECKING:
    from pipelines.holdings import Holdings
    from schemas.digest import Json
    from schemas.store import Store


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("ls")(list_store)
    app.command("gc")(collect)


def list_store(store: StoreUrl = STORE, as_json: AsJson = False) -> None:
    """What a store holds: strata, manifests, runs."""
    from flows.console import console
    from pipelines.holdings import holdings

    console.leave_stdout(as_json)
    held = holdings(_open(store))
    if as_json:
        print(json.dumps(_public(held)))
        return
    for line in _lines(held):
        console.say(line)


def collect(
    keep: Annotated[int, typer.Option(min=0, help="Manifests of a phase that stay, at least.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StoreUrl = STORE,
    as_json: AsJson = False,
) -> None:
    """Remove what no kept manifest and no run refers to; says what and how much first, and asks."""
    from flows.confirm import confirm
    from flows.console import console
    from pipelines.collect_garbage import find_garbage, remove
    from pipelines.holdings import holdings
    from schemas.figures import num_bytes

    console.leave_stdout(as_json)
    place = _open(store)
    garbage = find_garbage(holdings(place), keep)
    size = sum(found.num_bytes for found in garbage)
    for kind, number in Counter(found.kind for found in garbage).items():
        part = sum(found.num_bytes for found in garbage if found.kind == kind)
        console.say(f"  {kind:<18}{number:>8,}  {num_bytes(part)}")
    if not garbage:
        console.say("  nothing to remove: all of it is referred to, or younger than a day")
    if garbage and not dry_run:
        confirm(f"remove {len(garbage):,} things, {num_bytes(size)}, from {place.url}", yes)
        for found in garbage:
            remove(place, found)
        console.say(f"  {num_bytes(size)} removed")
    if as_json:
        told: dict[str, Json] = {
            "removed": bool(garbage) and not dry_run,
            "bytes": size,
            "garbage": [
                {"kind": g.kind, "place": place.relative(g.url), "bytes": g.num_bytes}
                for g in garbage
            ],
        }
        print(json.dumps(told))


def _open(url: str) -> Store:
    from schemas.store import Store, exists

    place = Store.at(url)
    if not exists(place.url):
        raise UserError(f"there is no store {place.url}; name one with --store")
    return place


def _age(written: float) -> str:
    from schemas.figures import duration

    age = time.time() - written
    return f"{duration(age)} old" if 0 <= age < float("inf") else ""


def _lines(held: Holdings) -> Iterator[str]:
    from schemas.figures import amount, num_bytes

    yield f"{held.store.url}, {num_bytes(sum(f.num_bytes for f in held.files.values()))}"
    if held.strata:
        yield ""
        yield f"  strata{'languages':>36}{'documents':>13}{'tokens':>10}{'size':>10}"
    groups = sorted({(s.stratum.name.source, s.stratum.name.tier) for s in held.strata})
    for source, tier in groups:
        mine = [
            s for s in held.strata if (s.stratum.name.source, s.stratum.name.tier) == (source, tier)
        ]
        languages = {s.stratum.name.language for s in mine}
        documents = sum(s.stratum.ledger.kept for s in mine)
        tokens = amount(sum(s.stratum.tokens for s in mine))
        size = num_bytes(sum(s.files.num_bytes for s in mine))
        age = _age(max(s.files.written for s in mine))
        name = f"{source}/{tier}"
        yield f"    {name:<30}{len(languages):>8,}{documents:>13,}{tokens:>10}{size:>10}  {age}"
    if held.manifests:
        yield ""
        yield f"  manifests{'languages':>33}{'':>13}{'tokens':>10}{'size':>10}"
    for found in held.manifests:
        manifest = found.manifest
        name = f"{manifest.recipe}/{manifest.phase}"
        yield (
            f"    {name:<30}{len(manifest.languages):>8,}{manifest.id[:12]:>13}"
            f"{amount(manifest.budget_tokens):>10}{num_bytes(found.files.num_bytes):>10}  "
            f"{', '.join((*found.names, _age(found.files.written)))}"
        )
    if held.runs:
        yield ""
        yield "  runs"
    for run in held.runs:
        name = run.folder.rsplit("/", 1)[1]
        made = f"{len(run.made)} of {len(run.run.models)} models"
        size = num_bytes(run.files.num_bytes)
        yield f"    {name:<51}{made:>14}{size:>10}  {_age(run.files.written)}"


def _public(held: Holdings) -> dict[str, Json]:
    now = time.time()

    def age(written: float) -> float | None:
        return now - written if written < float("inf") else None

    return {
        "store": held.store.url,
        "bytes": sum(f.num_bytes for f in held.files.values()),
        "strata": [
            {
                "name": str(s.stratum.name),
                "id": s.stratum.id,
                "documents": s.stratum.ledger.kept,
                "tokens": s.stratum.tokens,
                "bytes": s.files.num_bytes,
                "age_s": age(s.files.written),
            }
            for s in held.strata
        ],
        "manifests": [
            {
                "recipe": m.manifest.recipe,
                "phase": m.manifest.phase,
                "id": m.manifest.id,
                "names": list(m.names),
                "languages": len(m.manifest.languages),
                "budget_tokens": m.manifest.budget_tokens,
                "bytes": m.files.num_bytes,
                "age_s": age(m.files.written),
            }
            for m in held.manifests
        ],
        "runs": [
            {
                "name": r.folder.rsplit("/", 1)[1],
                "models": list(r.made),
                "bytes": r.files.num_bytes,
                "age_s": age(r.files.written),
            }
            for r in held.runs
        ],
    }
