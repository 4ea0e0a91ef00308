"""I2, the trainer's half: what the loader delivers is the manifest's quota, at every window.

Within one row of the target after each window, exact at the end, whatever the weight, the number
of shards or of epochs. (That the quotas themselves are right is the pipelines' half.)
"""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.manifest import Packing
from tests.stores import Settings, make_manifest
from trainer.order import delivered, phase_key, when_offsets
from trainer.phase import Phase

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
