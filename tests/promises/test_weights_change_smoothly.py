"""I2, inside a phase: where weights change in it, rows follow them, and all that holds of a phase
holds at every window: sums, caps, floors, every language.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.knots import knot_windows, rows_before
from pipelines.mixture import TAU_STEPS, Part, mean_of, share_out, share_out_steps
from pipelines.segments import Seam
from pipelines.weights import quota
from schemas.digest import content_id
from schemas.language import by_code
from schemas.manifest import Continuation, Manifest, load
from schemas.recipe import Phase
from schemas.rows import RowCount
from schemas.stratum import StratumName
from tests.manifests import manifest_of, manifests, share_of
from tests.runs import phase_settings
from tests.stores import make_manifest
from trainer.order import Schedule

CODES = sorted(code for code, row in by_code().items() if row.words)[:200]
COUNTS = Path(__file__).parents[3] / "shared" / "mmbert-token-counts.csv"
ROW_TOKENS = 500


def part(code: str, tokens: int) -> Part:
    name = StratumName(source="fineweb2", language=f"{code}_Latn")
    return Part(name, "multilingual", RowCount(-(-tokens // ROW_TOKENS), tokens, 0))


def phase(**changed: object) -> Phase:
    return phase_settings(**{"languages": "fineweb2-all", "shares": {"multilingual": 1}} | changed)


def scheduled(settings: Phase, parts: list[Part], windows: int) -> Manifest:
    """The manifest of a phase over parts, as pipelines/manifests.py makes it."""
    steps = share_out_steps(settings, "phases.x", parts)
    budget, pool = settings.budget_tokens, settings.pool_tokens
    rows = [
        quota(q, p.count.rows, p.count.tokens, budget, pool)
        for p, q in zip(parts, mean_of(steps), strict=True)
    ]
    knots = knot_windows(len(steps), windows)
    own = zip(rows, parts, zip(*steps, strict=True), strict=True)
    shares = [
        share_of(i, k, [rows_before(w, windows, k, mine) for w in knots], p.count.rows)
        for i, (k, p, mine) in enumerate(own)
    ]
    return manifest_of(shares, windows, knots)


@given(
    st.dictionaries(st.sampled_from(CODES), st.integers(1, 10**9), min_size=1, max_size=30),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.3, 4),
    st.integers(0, 10**7),
    st.floats(0.01, 1),
)
@settings(max_examples=50)
def test_sums_caps_and_floors_hold_in_every_step_and_over_the_phase(
    sizes: dict[str, int], tau: float, end: float, epochs: float, least: int, part_of: float
) -> None:
    floors = {code: min(least, size, epochs * size) for code, size in sizes.items()}
    low, high = sum(floors.values()), sum(epochs * size for size in sizes.values())
    pool = int(low + part_of * (high - low))
    assume(pool > low)
    kept = {"max_epochs": epochs, "min_tokens": least, "pool_tokens": pool, "budget_tokens": pool}
    parts = [part(code, size) for code, size in sizes.items()]
    moving = phase(tau=tau, tau_end=end, **kept)
    steps = share_out_steps(moving, "phases.x", parts)
    for targets in (*steps, share_out(moving, "phases.x", parts)):
        assert sum(targets) == pool
        for target, (code, size) in zip(targets, sizes.items(), strict=True):
            assert floors[code] - 1 < target < epochs * size + 1
    middle = tau + (end - tau) * 2.5 / TAU_STEPS
    assert steps[2] == share_out(phase(tau=middle, **kept), "phases.x", parts)


def test_a_language_gets_in_a_window_what_a_phase_of_its_tau_would_give_it() -> None:
    parts = [part("deu", 10**9), part("isl", 10**7), part("fao", 10**5)]
    kept = {"pool_tokens": 10**8, "budget_tokens": 10**8, "max_epochs": 100}
    windows = 160
    moving = scheduled(phase(tau=0.9, tau_end=0.1, **kept), parts, windows)
    done = np.array([Schedule.of(moving).delivered(w) for w in range(windows + 1)])
    for step, knot in enumerate((0, *moving.knots)):
        tau = 0.9 - 0.8 * (step + 0.5) / TAU_STEPS
        wanted = share_out(phase(tau=tau, **kept), "phases.x", parts)
        got = (done[knot + 10] - done[knot]) * ROW_TOKENS * windows / 10
        assert got == pytest.approx(wanted, rel=0.02, abs=3 * ROW_TOKENS * windows / 10)
    shares = np.diff(done[:, 0]) / np.diff(done.sum(1))
    assert shares[0] > 0.9
    assert shares[-1] < 0.6


@pytest.mark.parametrize(("windows", "num_knots"), [(1, 0), (3, 2), (21, 15), (160, 15)])
def test_windows_stay_equally_full_however_many_there_are(windows: int, num_knots: int) -> None:
    parts = [part(code, 10 ** (4 + i % 6)) for i, code in enumerate(CODES)]
    kept = {"pool_tokens": 10**7, "budget_tokens": 10**8}
    moving = scheduled(phase(tau=0.7, tau_end=0.3, **kept), parts, windows)
    assert len(moving.knots) == num_knots
    done = np.array([Schedule.of(moving).delivered(w).sum() for w in range(windows + 1)])
    # Each of the languages may be a row early or late.
    assert np.abs(np.diff(done) - done[-1] / windows).max() < 2 * len(parts)


@pytest.mark.skipif(not COUNTS.exists(), reason="mmBERT's counts by language are not here")
def test_every_language_of_mmbert_gets_its_share_while_tau_falls() -> None:
    with COUNTS.open(encoding="utf-8", newline="") as lines:
        sizes = {row["code"]: int(row["decay_all"]) for row in csv.DictReader(lines)}
    sizes = {code: size for code, size in sizes.items() if size}
    assert len(sizes) > 1_800
    pool = sum(sizes.values()) // 2
    parts = [part(code, size) for code, size in sizes.items()]
    for taus in ({"tau": 0.3}, {"tau": 0.7, "tau_end": 0.3}):
        wanted = phase(**taus, pool_tokens=pool, budget_tokens=10**11)
        manifest = scheduled(wanted, parts, 1_017)
        schedule = Schedule.of(manifest)
        rows = np.array([(0, *share.knots, share.rows) for share in manifest.strata])
        ends = (0, *manifest.knots, manifest.windows)
        assert rows[:, -1].min() >= 1
        for window in range(0, 1_018, 37):
            line = np.array([np.interp(window, ends, mine) for mine in rows])
            assert (np.abs(schedule.delivered(window) - line) < 1 + 1e-6).all(), window


@given(manifests(windows=1_000), manifests(windows=1_000, least_rows=1), st.integers(0, 999))
@settings(max_examples=50)
def test_a_segment_goes_on_with_the_rows_and_then_follows_its_own_weights(
    before: Manifest, after: Manifest, window: int
) -> None:
    past = Schedule.of(before)
    seam = Seam(before, after, window)
    shares = seam.joined(past.delivered(window).tolist())
    continues = Continuation(manifest=before.id, from_window=window)
    segment = manifest_of(shares, 1_000, seam.knots, continues)
    schedule, size = Schedule.of(before, segment), len(before.strata)
    assert [share.id for share in segment.strata[:size]] == [share.id for share in before.strata]
    for w in {0, window // 3, window // 2, max(0, window - 1), window}:
        done = schedule.delivered(w)
        assert (done[:size] == past.delivered(w)).all()
        assert not done[size:].any()
    wanted = {share.id: alone for share, alone in zip(after.strata, rows_of(after), strict=True)}
    begun, last = schedule.delivered(window), window
    for w in sorted({window, *(k for k in seam.knots if k > window), 1_000}):
        done = schedule.delivered(w)
        assert (done >= schedule.delivered(last)).all()
        last = w
        for share, rows, first in zip(segment.strata, done.tolist(), begun.tolist(), strict=True):
            line = wanted.get(share.id)
            planned = line[w] - line[window] if line is not None else 0.0
            assert abs(rows - first - planned) <= 1, (share.id, w)
    present = {share.id for share in segment.strata if share.rows}
    assert present >= {share.id for share in after.strata}


def rows_of(manifest: Manifest) -> list[np.ndarray]:
    """Of each stratum, the line that its rows follow, at every window."""
    ends = (0, *manifest.knots, manifest.windows)
    every = np.arange(manifest.windows + 1)
    return [np.interp(every, ends, (0, *share.knots, share.rows)) for share in manifest.strata]


def test_what_does_not_change_keeps_its_id(tmp_path: Path) -> None:
    """Ids of order version 2, without schedules and segments: runs are found by them."""
    url = make_manifest(tmp_path, {"fineweb2/fao_Latn/all": [[40, 90]]})
    assert load(url).id == "b0a063cf9fcbc7e4"
    assert content_id(phase_settings().model_dump(mode="json")) == "0667d261786b8c59"
