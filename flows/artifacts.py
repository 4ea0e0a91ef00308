"""What the UI shows of a flow beside its log: the ledger, each phase's mixture, what a remix did.

Without a server there is no UI, and nothing is published. The key of an artifact is the same in
every run, so that Prefect's page of a key shows how a mixture or a ledger has changed. Training
shows itself while it runs: flows/live.py.
"""

from __future__ import annotations

from flows.orchestrate import publish_table
from pipelines.difference import Difference
from schemas.language import language_name
from schemas.ledger import Ledger
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from schemas.store import Store


def show_ledger(ledger: Ledger, recipe: Recipe, store: Store) -> Ledger:
    """Publish it, and hand it on."""
    share = f"{100 * ledger.kept / ledger.read:.1f} %" if ledger.read else "nothing"
    rows: list[dict[str, str | int | float]] = [{"": "read", "documents": ledger.read}]
    rows.append({"": "kept", "documents": ledger.kept})
    rows += [{"": f"dropped: {why}", "documents": n} for why, n in ledger.dropped.items()]
    rows += [{"": f"unreadable: {s.file}, byte {s.offset:,}"} for s in ledger.unreadable]
    publish_table("ledger", rows, f"Documents: read = kept + dropped; {share} kept.")
    return ledger


def show_mixture(manifest: Manifest, url: str) -> None:
    """A mixture that lies at a URL: its plot, its languages and where the rest of it is."""
    languages = sorted(manifest.languages, key=lambda share: -share.weight)
    rows: list[dict[str, str | int | float]] = [
        {
            "language": language_name(share.language),
            "code": share.language,
            "weight": f"{100 * share.weight:.3g} %",
            "tokens there are": share.tokens_available,
            "tokens delivered": share.tokens,
            "rows": share.rows,
            "epochs": round(share.epochs, 3),
        }
        for share in languages
    ]
    rows += [{"language": a.language, "weight": f"absent: {a.reason}"} for a in manifest.absent]
    publish_table(
        f"mixture-{manifest.phase}",
        rows,
        f"What {manifest.phase} reads: {len(languages)} languages, tau {manifest.taus}, "
        f"{manifest.budget_tokens:,} tokens, context {manifest.context:,}.",
    )


def show_difference(difference: Difference, before_url: str, after_url: str) -> None:
    """What became of a mixture: its shares before and after, and which settings changed."""
