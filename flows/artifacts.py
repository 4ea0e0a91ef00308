"""What the UI shows of a flow beside its log: the ledger, each phase's mixture, what a remix did.

Without a server there is no UI, and nothing is published. The key of an artifact is the same in
every run of a recipe, so that Prefect's page of a key shows how a mixture or a ledger has changed.
Plots are in the artifacts themselves. Training shows itself while it runs: flows/live_training.py.
"""

from __future__ import annotations

import re

from flows import markdown, svg
from flows.mixture_plot import mixture_plot, shares
from flows.orchestrate import in_flow_run, note
from flows.viewer.links import link_difference, viewer_of
from pipelines.difference import LanguageChange, compare
from schemas import manifest as manifests
from schemas.figures import amount, setting
from schemas.language import language_name
from schemas.ledger import Ledger
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from schemas.store import Store, exists, join

MOST_LANGUAGES = 30  # of a table; the viewer has them all
MOST_SPANS = 12


def key(*names: str) -> str:
    """Of an artifact: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(names).lower()).strip("-")


def show_ledger(ledger: Ledger, recipe: Recipe, store: Store) -> Ledger:
    """Publish what became of every document, and hand it on."""

    def row(name: str, count: int) -> tuple[str, str, str]:
        part = f"{100 * count / ledger.read:.2f} %" if ledger.read else ""
        return name, f"{count:,}", part

    rows = [row("read", ledger.read), row("kept", ledger.kept)]
    dropped = sorted(ledger.dropped.items(), key=lambda item: (-item[1], item[0]))
    rows += [row(f"dropped: {why.replace('_', ' ')}", count) for why, count in dropped]
    parts = [
        markdown.to(store, store.url, "all data of the store"),
        markdown.table(("", "documents", "of those read"), rows),
    ]
    if ledger.unreadable:
        spans = ledger.unreadable[:MOST_SPANS]
        more = len(ledger.unreadable) - len(spans)
        parts.append("Bytes that hold no readable record; the rest of each file is kept:")
        parts += [
            f"- {markdown.text(s.file)}, byte {s.offset:,}: {markdown.text(s.reason)}"
            for s in spans
        ]
        parts += [f"- and {more:,} more"] if more else []
    num_dropped = sum(ledger.dropped.values())
    told = f"{ledger.read:,} documents read = {ledger.kept:,} kept + {num_dropped:,} dropped"
    publish(key("ledger", recipe.name), told, parts)
    return ledger


def show_mixture(manifest: Manifest, url: str) -> None:
    """A mixture that lies at a URL: its plot, its languages and where the rest of it is."""
    if not in_flow_run():
        return
    store, folder = manifests.store_of(url), url.rsplit("/", 1)[0]
    languages = sorted(manifest.languages, key=lambda share: (-share.weight, share.language))
    rows = [
        (
            f"{language_name(share.language)} ({share.language})",
            f"{100 * share.weight:.3g} %",
            amount(share.tokens),
            f"{share.rows:,}",
            f"{share.epochs:.3g}",
        )
        for share in languages[:MOST_LANGUAGES]
    ]
    more = len(languages) - len(rows)
    absent = f"; {len(manifest.absent):,} more are absent" if manifest.absent else ""
    links = [markdown.to(store, url, "all of this mixture")]
    if exists(card := join(folder, "card.html")):  # a remix has none before it is asked for
        links.append(markdown.to(store, card, "data card"))
    publish(
        key("mixture", manifest.recipe, manifest.phase),
        f"{markdown.text(manifest.recipe)}, {markdown.text(manifest.phase)}: "
        f"{amount(manifest.budget_tokens)} tokens in {len(languages):,} languages{absent}; "
        f"tau {manifest.taus}, context {manifest.context:,}",
        [
            markdown.links(store, links),
            markdown.image(svg.image(mixture_plot(shares(manifest))), "share of each language"),
            markdown.table(("language", "share", "tokens", "rows", "epochs"), rows),
            *([f"and {more:,} more languages"] if more else []),
        ],
    )


def show_difference(before: Manifest, before_url: str, after: Manifest, after_url: str) -> None:
    """What became of a mixture: its shares before and after, and which settings changed."""
    if not in_flow_run():
        return
    store = manifests.store_of(after_url)
    difference = compare(before, after)
    settings = [
        (s.name.replace("_", " "), setting(s.before), setting(s.after)) for s in difference.settings
    ]
    changed = difference.changed
    rows = [_row(found) for found in changed[:MOST_LANGUAGES]]
    more = len(changed) - len(rows)
    moves = [
        f"{len(codes):,} {what}: {' '.join(codes[:MOST_LANGUAGES])}"
        + (" ..." if len(codes) > MOST_LANGUAGES else "")
        for what, codes in difference.moves
        if codes
    ]
    parts = []
    if viewer_of(store):
        address = link_difference(store, before_url, after_url)
        parts.append(f"[all of the difference]({address})")
    if settings:
        parts.append(markdown.table(("setting", "before", "after"), settings))
    if changed:
        plot = mixture_plot(shares(after), shares(before))
        columns = ("language", "share before", "after", "tokens before", "after")
        parts.append(markdown.image(svg.image(plot), "shares before and after"))
        parts.append(markdown.table(columns, rows))
    parts += [*([f"and {more:,} more languages"] if more else []), *moves]
    told = f"what changed in {markdown.text(after.phase)}: {len(changed):,} languages"
    publish(key("difference", after.recipe, after.phase), told, parts)


def publish(name: str, told: str, parts: list[str]) -> None:
    """An artifact of paragraphs, of the running flow; its failure fails nothing.

    `told` is the line that stands for it in the list of a run's artifacts.
    """
    if not in_flow_run():
        return
    from prefect.artifacts import create_markdown_artifact

    try:
        create_markdown_artifact(key=name, description=told, markdown="\n\n".join(parts))
    except Exception as error:  # the server's; what was made is in the store
        note(f"the artifact {name} could not be published: {error}")


def _row(found: LanguageChange) -> tuple[str, ...]:
    pair = (found.before, found.after)
    return (
        f"{language_name(found.language)} ({found.language})",
        *(f"{100 * p.share:.3g} %" if p else "–" for p in pair),
        *(amount(p.tokens) if p else "–" for p in pair),
    )
