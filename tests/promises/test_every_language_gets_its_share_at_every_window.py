"""I2, the trainer's half: what the loader delivers is the manifest's quota, at every window.

Within one row of the target after each window, exact at the end, whatever the weight, the number
of shards or of epochs, and where weights change inside the phase. (That the quotas and their knots
are right is the pipelines' half.)
"""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.keyed import key64, keyed
from schemas.manifest import Manifest, Packing
from tests.manifests import line, manifest_of, manifests, share_of
from tests.stores import Settings, make_manifest
from trainer.order import Schedule, delivered, phase_key, row_hashes, when_offsets
from trainer.phase import Phase
from trainer.spans import StratumShards, spans

LARGE, MIDDLE, SMALL = "dclm/eng_Latn/all", "fineweb2/deu_Latn/all", "fineweb2/fao_Latn/all"
SETTINGS = Settings(packing=Packing(pack_tokens=512, max_pieces=16, window_packs=10))


def delivered_by_window(phase: Phase) -> np.ndarray:
    """Rows of each stratum in each window, [N, l], counted in the packs that come out."""
    counts = np.zeros((phase.windows, len(phase.manifest.strata)), np.int64)
    for pack in phase.packs():
        np.add.at(counts[pack.window], pack.stratum, 1)
    return counts


def lengths(seed: int, num: int) -> list[int]:
    return np.random.default_rng(seed).integers(1, 200, num).tolist()


def test_every_stratum_is_within_one_row_of_its_target_at_every_window(tmp_path: Path) -> None:
    documents = {LARGE: [lengths(0, 900)], MIDDLE: [lengths(1, 50)], SMALL: [[40, 3]]}
    quotas = {LARGE: 1_300, MIDDLE: 333, SMALL: 1}
    phase = Phase(make_manifest(tmp_path, documents, SETTINGS, rows=quotas))
    counts = delivered_by_window(phase)
    assert phase.windows > 20
    assert counts.sum(0).tolist() == list(quotas.values())
    for window in range(1, phase.windows + 1):
        target = np.array(list(quotas.values())) * window / phase.windows
        assert (np.abs(counts[:window].sum(0) - target) < 1).all(), window


def test_each_row_is_delivered_once_before_any_repeats(tmp_path: Path) -> None:
    url = make_manifest(tmp_path, {SMALL: [lengths(2, 30), lengths(3, 20)]}, SETTINGS, {SMALL: 160})
    phase = Phase(url)
    available = phase.manifest.strata[0].rows_available
    assert 50 < available < 80
    rows = {}
    for window in range(phase.windows):
        plan = phase.plan(window)
        columns = (plan.row, plan.shard, plan.document, plan.start)
        for number, *row in zip(*(column.tolist() for column in columns), strict=True):
            rows[number] = tuple(row)
    assert sorted(rows) == list(range(160))
    for first in range(0, 160, available):
        epoch = [rows[number] for number in range(first, min(first + available, 160))]
        assert len(set(epoch)) == len(epoch)


def test_splitting_a_stratum_over_shards_changes_no_share(tmp_path: Path) -> None:
    documents = lengths(4, 240)
    counts = []
    for num_shards in (1, 2, 5):
        size = len(documents) // num_shards
        shards = [documents[i * size : (i + 1) * size] for i in range(num_shards)]
        strata = {LARGE: [lengths(5, 300)], MIDDLE: shards, SMALL: [[9]]}
        url = make_manifest(tmp_path / str(num_shards), strata, SETTINGS)
        counts.append(delivered_by_window(Phase(url)).tolist())
    assert counts[0] == counts[1] == counts[2]


@given(st.integers(0, 2**64 - 1), st.integers(1, 40_000))
def test_a_weight_of_a_hundred_millionth_is_no_exception(stratum: int, num_windows: int) -> None:
    total = 10**9
    quotas = np.array([total, total // 10**8])  # 10 rows in a thousand million
    ids = np.array([stratum, 1], np.uint64)
    offsets = when_offsets(phase_key(0, "pretrain"), ids, num_windows)
    for window in {0, 1, num_windows // 3, num_windows - 1, num_windows}:
        done = delivered(quotas, offsets, window, num_windows)
        assert (np.abs(done * num_windows - quotas * window) < num_windows).all()
    assert delivered(quotas, offsets, num_windows, num_windows).tolist() == quotas.tolist()


def test_the_arithmetic_of_a_schedule_is_what_the_format_says() -> None:
    """The test vector of FORMAT.md: stratum 9 of phase pretrain at seed 0."""
    even = manifest_of([share_of(9, 9)], 10)
    bent = manifest_of([share_of(9, 9, (7,))], 10, (4,))
    hashed = keyed(keyed(0, key64("mmbert"), key64("pretrain")), key64("when"), 9)
    assert (hashed % 10, hashed % 4, hashed % 6) == (3, 3, 1)
    assert [int(Schedule.of(even).delivered(w)[0]) for w in range(11)] == [
        0,
        1,
        2,
        3,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
    ]
    assert [int(Schedule.of(bent).delivered(w)[0]) for w in range(11)] == [
        0,
        2,
        4,
        6,
        7,
        7,
        7,
        8,
        8,
        8,
        9,
    ]


@given(manifests(), st.data())
def test_rows_follow_the_line_between_knots_within_one_row(
    manifest: Manifest, data: st.DataObject
) -> None:
    schedule = Schedule.of(manifest)
    near = {w + step for w in (0, *manifest.knots, manifest.windows) for step in (-1, 0, 1)}
    anywhere = data.draw(st.sets(st.integers(0, manifest.windows), max_size=20))
    before = np.zeros(len(manifest.strata), np.int64)
    for window in sorted(w for w in near | anywhere if 0 <= w <= manifest.windows):
        done = schedule.delivered(window)
        first, last, start, end = line(manifest, window)
        passed = (done.astype(object) - first) * (end - start)
        assert (abs(passed - (window - start) * (last - first)) < end - start).all(), window
        assert window not in (start, end) or (done == (first if window == start else last)).all()
        assert (done >= before).all()
        before = done


@given(
    st.lists(
        st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any), min_size=1, max_size=5
    ),
    st.integers(1, 12),
    st.data(),
)
def test_each_row_comes_once_before_any_repeats_whatever_the_windows(
    sizes: list[list[int]], windows: int, data: st.DataObject
) -> None:
    """`sizes`: rows of the shards of each stratum; by arithmetic, from window to window."""
    available = [sum(shards) for shards in sizes]
    quotas = [data.draw(st.integers(0, 4 * rows)) for rows in available]
    schedule = Schedule.of(manifest_of([share_of(*pair) for pair in enumerate(quotas)], windows))
    seen: list[dict[int, set[tuple[int, int]]]] = [{} for _ in sizes]
    for found in (
        spans(7, shards_of(sizes), schedule.delivered(w), schedule.delivered(w + 1))
        for w in range(windows)
    ):
        columns = (found.stratum, found.epoch, found.shard, found.first, found.last)
        for stratum, epoch, shard, first, last in zip(*(c.tolist() for c in columns), strict=True):
            rows = {(shard, place) for place in range(first, last)}
            mine = seen[stratum].setdefault(epoch, set())
            assert not rows & mine
            mine |= rows
            assert epoch == 0 or len(seen[stratum][epoch - 1]) == available[stratum]
    for quota, rows, epochs in zip(quotas, available, seen, strict=True):
        assert sum(map(len, epochs.values())) == quota
        assert len(epochs) == -(-quota // rows)


def shards_of(sizes: list[list[int]]) -> StratumShards:
    """Shards of these numbers of rows; a shard's digest is its place."""
    stratum = np.repeat(np.arange(len(sizes)), [len(shards) for shards in sizes]).astype(np.int32)
    rows = np.array([size for shards in sizes for size in shards], np.int64)
    ids = np.arange(len(sizes), dtype=np.uint64)
    return StratumShards.of(ids, stratum, np.arange(rows.size, dtype=np.uint64), rows)


def test_a_phase_of_a_thousand_million_documents_is_planned_by_arithmetic_alone() -> None:
    """No shard is there: a window of it is 30,000 spans or fewer, a shard's order a permutation."""
    shard_rows, windows = 50_000, 20_000
    sizes = [[shard_rows] * 18_000, [shard_rows] * 1_999, *([[50]] * 1_000)]
    quotas = [1_800_000_000, 99_950_000, *([50] * 1_000)]  # two epochs of the largest
    schedule = Schedule.of(manifest_of([share_of(*pair) for pair in enumerate(quotas)], windows))
    shards = shards_of(sizes)
    assert int(shards.rows_available.sum()) == 10**9
    done = None
    for window in (9_999, 10_000, 10_001):  # the second epoch begins in the middle
        first, last = schedule.delivered(window), schedule.delivered(window + 1)
        assert done is None or (first == done).all()
        done = last
        found = spans(7, shards, first, last)
        assert np.bincount(found.stratum, found.num_rows, len(sizes)).tolist() == (
            (last - first).tolist()
        )
        assert (found.last <= shards.num_rows[found.shard]).all()
    assert schedule.delivered(10_000)[0] == 900_000_000
    digest = np.full(shard_rows, 5, np.uint64)
    order = np.argsort(
        row_hashes(7, np.zeros_like(digest), digest, np.arange(shard_rows, dtype=np.uint64)),
        kind="stable",
    )
    assert np.bincount(order, minlength=shard_rows).tolist() == [1] * shard_rows
