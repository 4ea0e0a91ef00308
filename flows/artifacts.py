"""What the UI shows of a flow beside its log: the ledger, each phase's mixture, held-out scores.

Without a server there is no UI, and publishing a table does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.orchestrate import publish_table
from flows.scores import Event, score_table
from schemas.language import language_name
from schemas.ledger import Ledger
from schemas.manifest import Manifest


def show_ledger(ledger: Ledger) -> Ledger:
    """Publish it, and hand it on."""
    share = f"{100 * ledger.kept / ledger.read:.1f} %" if ledger.read else "nothing"
    rows: list[dict[str, str | int | float]] = [{"": "read", "documents": ledger.read}]
    rows.append({"": "kept", "documents": ledger.kept})
    rows += [{"": f"dropped: {why}", "documents": n} for why, n in ledger.dropped.items()]
    rows += [{"": f"unreadable: {s.file}, byte {s.offset:,}"} for s in ledger.unreadable]
    publish_table("ledger", rows, f"Documents: read = kept + dropped; {share} kept.")
    return ledger


def show_mixture(manifest: Manifest) -> None:
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


def show_scores(log: Sequence[Event]) -> None:
    table = score_table(log)
    if table is not None:
        text = "Bits per byte of held-out text; smaller is better."
        publish_table("held-out", table.records(), text)
