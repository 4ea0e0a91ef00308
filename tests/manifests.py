"""Manifests in memory, for what follows from them by arithmetic alone; no store, no shard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from schemas.ledger import Ledger
from schemas.manifest import Continuation, Manifest, Packing, StratumShare

MOST_WINDOWS = 40_000  # 2.3 T tokens are 23,400 windows of 2,000 packs


def share_of(
    identity: int, rows: int, knots: Sequence[int] = (), available: int | None = None
) -> StratumShare:
    """A stratum with this number as its id."""
    available = available or max(rows, 1)
    return StratumShare(
        id=f"{identity:016x}",
        folder="",
        source="fineweb2",
        language=f"l{identity:x}_Latn",
        tier="all",
        rows_available=available,
        tokens_available=available * 500,
        target_tokens=rows * 500,
        rows=rows,
        knots=tuple(knots),
    )


def manifest_of(
    shares: Sequence[StratumShare],
    windows: int,
    knots: Sequence[int] = (),
    continues: Continuation | None = None,
) -> Manifest:
    return Manifest(
        recipe="tests",
        phase="pretrain",
        seed=0,
        tokenizer="",
        vocab_size=500,
        context=1024,
        mask_rate=0.3,
        tau=1.0,
        max_epochs=100.0,
        pool_tokens=1,
        budget_tokens=1,
        packing=Packing(pack_tokens=49_152, max_pieces=1_024, window_packs=2_000),
        windows=windows,
        knots=tuple(knots),
        continues=continues,
        languages=(),
        strata=tuple(shares),
        ledger=Ledger(read=0, kept=0),
    ).sealed()


@st.composite
def manifests(
    draw: st.DrawFn, windows: int | None = None, least_rows: int = 0, most_knots: int = 20
) -> Manifest:
    """Of up to 12 strata, some tiny, some repeated for epochs, with knots anywhere or none."""
    windows = windows or draw(st.integers(1, MOST_WINDOWS))
    inside = st.integers(1, max(1, windows - 1))
    knots = sorted(draw(st.sets(inside, max_size=min(most_knots, windows - 1))))
    identities = draw(st.sets(st.integers(0, 30), min_size=1, max_size=12))
    shares = []
    for identity in sorted(identities):
        rows = draw(st.integers(least_rows, 20) | st.integers(least_rows, 10**9))
        at = sorted(draw(st.lists(st.integers(0, rows), min_size=len(knots), max_size=len(knots))))
        shares.append(share_of(identity, rows, at, draw(st.none() | st.integers(1, rows + 1))))
    return manifest_of(shares, windows, knots)


def line(manifest: Manifest, window: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Rows at the knot at or before a window, those at the next, and the two windows."""
    windows = (0, *manifest.knots, manifest.windows)
    at = min(max(j for j, knot in enumerate(windows) if knot <= window), len(windows) - 2)
    rows = np.array([(0, *share.knots, share.rows) for share in manifest.strata], object)
    return rows[:, at], rows[:, at + 1], windows[at], windows[at + 1]
