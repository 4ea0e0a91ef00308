"""A phase delivers what its manifest says, whoever asks, from wherever."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import UserError
from schemas.manifest import Packing, load_shards, publish
from schemas.manifest import load as load_manifest
from schemas.shard import open_shard
from schemas.store import Store
from tests.stores import SPECIAL, Settings, make_manifest, write_seal
from trainer.phase import Batch, Pack, Phase, State

STRATUM = "fineweb2/fao_Latn/all"


def lengths(seed: int, num: int, longest: int = 400) -> list[int]:
    return np.random.default_rng(seed).integers(1, longest, num).tolist()


LENGTHS = {
    STRATUM: [lengths(0, 30), lengths(1, 40), []],
    "fineweb2/deu_Latn/all": [lengths(2, 60)],
    "dclm/eng_Latn/high": [lengths(3, 90), lengths(4, 50)],
    "fineweb2/tir_Ethi/all": [[9]],
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_manifest(tmp_path_factory.mktemp("store"), LENGTHS, Settings(epochs=2.3))


def content(pack: Pack | None) -> tuple[int, int, str] | None:
    if pack is None:
        return None
    arrays = (pack.ids, pack.positions, pack.cu_seqlens, pack.stratum, pack.shard, pack.document)
    return pack.window, pack.index, b"|".join(a.tobytes() for a in arrays).hex()


def batch_size(clock: float) -> int:
    """A batch that grows with the clock."""
    return 2 + int(clock // 40_000)


def global_batches(url: str, world: int, start: State) -> list[tuple[object, ...]]:
    """What all ranks together see of each batch, ranks interleaved."""
    ranks = [list(Phase(url).batches(rank, world, start, batch_size)) for rank in range(world)]
    seen = []
    for parts in zip(*ranks, strict=True):
        packs = [part.packs[i] for i in range(len(parts[0].packs)) for part in parts]
        whole = parts[0]
        assert len({(p.num_packs, p.num_targets, p.tokens, p.first, p.after) for p in parts}) == 1
        assert packs[whole.num_packs :] == [None] * (len(packs) - whole.num_packs)
        packs = packs[: whole.num_packs]
        seen.append((whole.first, whole.after, whole.num_targets, [content(p) for p in packs]))
    return seen


def test_global_batches_are_the_same_at_any_world_size_and_from_any_state(url: str) -> None:
    expected = global_batches(url, 1, State())
    assert len(expected) > 20
    for world in (2, 3, 4, 8):
        at = world * len(expected) // 9
        assert global_batches(url, world, State()) == expected
        assert global_batches(url, world, expected[at][0]) == expected[at:]


def test_the_packs_of_all_ranks_are_all_packs(url: str) -> None:
    phase = Phase(url)
    everything = [content(pack) for pack in phase.packs()]
    assert [pack[:2] for pack in everything if pack] == [
        (window, index)
        for window in range(phase.windows)
        for index in range(phase.plan(window).num_packs)
    ]
    ranks = [content(p) for rank in range(3) for p in Phase(url).packs(rank, 3, State(2, 1))]
    rest = [pack for pack in everything if pack and pack[:2] >= (2, 1)]
    assert sorted(filter(None, ranks)) == rest


def test_a_pack_holds_the_tokens_that_its_pieces_name(url: str) -> None:
    phase = Phase(url)
    table = load_shards(url).to_pylist()
    shards = {row["digest"]: open_shard(phase.store.resolve(row["url"])) for row in table}
    for pack in phase.packs():
        assert pack.cu_seqlens[-1] == pack.ids.size <= phase.manifest.packing.pack_tokens
        assert pack.eligible == (~np.isin(pack.ids, SPECIAL.ids())).sum()
        for i, piece in enumerate(pack.pieces()):
            span = slice(pack.cu_seqlens[i], pack.cu_seqlens[i + 1])
            shard = shards[piece.shard]
            text = shard.document(piece.document)[piece.start : piece.start + piece.length]
            assert pack.ids[span].tolist() == [SPECIAL.bos, *text, SPECIAL.eos]
            assert pack.positions[span].tolist() == list(range(piece.length + 2))
            share = phase.manifest.strata[piece.stratum]
            assert shard.meta.stratum == f"{share.source}/{share.language}/{share.tier}"


def test_targets_of_a_batch_are_counted_before_it_is_read(url: str) -> None:
    phase = Phase(url)
    for batch in phase.batches(batch_packs=lambda _: 5):
        drawn = [phase.mask(pack) for pack in batch.packs if pack]
        assert batch.num_targets == sum(masked.positions.size for masked in drawn)
        assert batch.tokens == sum(pack.ids.size for pack in batch.packs if pack)


def test_masks_belong_to_the_pack_not_to_the_rank(url: str) -> None:
    alone = {(p.window, p.index): Phase(url).mask(p) for p in Phase(url).packs()}
    phase = Phase(url)
    for pack in phase.packs(2, 3, State(1, 1)):
        expected, found = alone[pack.window, pack.index], phase.mask(pack)
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.positions.tolist() == expected.positions.tolist()


def test_the_clock_runs_from_batch_to_batch_and_ends_at_the_budget(url: str) -> None:
    phase = Phase(url)
    batches = list(phase.batches(batch_packs=lambda _: 7))
    assert batches[0].clock_tokens == 0
    assert [b.clock_tokens for b in batches[1:]] == [phase.clock(b.after) for b in batches[:-1]]
    assert batches[-1].after == State(phase.windows)
    assert phase.clock(batches[-1].after) == phase.manifest.budget_tokens
    assert 0 < batches[-1].num_packs < 7  # short, and delivered all the same


def test_windows_without_packs_are_passed_over(tmp_path: Path) -> None:
    url = make_manifest(tmp_path, {STRATUM: [[50, 60, 70]]}, Settings(windows=40))
    phase = Phase(url)
    batches: list[Batch] = list(phase.batches())
    assert sum(batch.tokens for batch in batches) == 50 + 60 + 70 + 6
    assert phase.plan(39).num_packs == 0
    assert min(batch.num_packs for batch in batches) > 0
    assert batches[-1].after == State(40)
    assert phase.clock(batches[-1].after) == phase.manifest.budget_tokens
    assert [b.first for b in phase.batches(start=State(39, 1))] == []
    empty = next(w for w in range(40) if phase.plan(w).num_packs == 0)
    assert len(phase.plan(empty).digest()) == 64


def rows_of(phase: Phase, window: int) -> list[tuple[int, ...]]:
    plan = phase.plan(window)
    columns = (plan.pack, plan.place, plan.stratum, plan.row, plan.shard, plan.document)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_an_exclusion_changes_nothing_before_its_window_and_holds_from_there(
    tmp_path: Path, url: str
) -> None:
    with_it = make_manifest(
        tmp_path, LENGTHS, Settings(epochs=2.3), excluded={6: [("dclm/eng_Latn/high", 1, 7)]}
    )
    before, after = Phase(url), Phase(with_it)
    gone = (2, 5, 7)  # stratum, shard of the table, document
    assert before.windows == after.windows > 12
    held = 0
    for window in range(before.windows):
        expected, found = rows_of(before, window), rows_of(after, window)
        if window < 6:
            assert found == expected
            assert before.plan(window).digest() == after.plan(window).digest()
            continue
        held += sum((row[2], *row[4:]) == gone for row in expected)
        # The others keep their numbers; only their packs may differ.
        assert sorted(row[2:] for row in found) == sorted(
            row[2:] for row in expected if (row[2], *row[4:]) != gone
        )
    assert held


def test_a_document_excluded_from_the_start_has_no_rows(tmp_path: Path) -> None:
    url = make_manifest(
        tmp_path, {STRATUM: [[5, 300, 7], [8]]}, excluded={0: [(STRATUM, 0, 1), (STRATUM, 1, 0)]}
    )
    phase = Phase(url)
    assert phase.manifest.strata[0].rows_available == 2
    assert sorted(piece.document for pack in phase.packs() for piece in pack.pieces()) == [0, 2]


def test_a_shard_of_another_tokenizer_is_refused_naming_both_digests(tmp_path: Path) -> None:
    url = make_manifest(tmp_path, {STRATUM: [[5]]}, Settings(tokenizer="a" * 64))
    manifest = load_manifest(url).model_copy(update={"tokenizer": "b" * 64, "id": "other"})
    store = Store.at(str(tmp_path))
    write_seal(store, "b" * 64)
    other = publish(store, manifest, load_shards(url))
    with pytest.raises(UserError, match=r"shard-.*" + "a" * 16 + r".*" + "b" * 16):
        next(Phase(other).packs())


def test_a_shard_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    url = make_manifest(tmp_path, {STRATUM: [[5]]})
    manifest = load_manifest(url).model_copy(update={"vocab_size": 400, "id": "other"})
    other = publish(Store.at(str(tmp_path)), manifest, load_shards(url))
    with pytest.raises(UserError, match=r"shard-.* 500 .* 400"):
        next(Phase(other).packs())


def test_a_shard_with_other_rows_than_the_manifest_counts_is_refused(tmp_path: Path) -> None:
    url = make_manifest(tmp_path, {STRATUM: [[5, 6]]})
    table = load_shards(url)
    wrong = table.set_column(4, table.schema.field("rows"), pa.array([3], pa.int64()))
    manifest = load_manifest(url).model_copy(update={"id": "wrong"})
    other = publish(Store.at(str(tmp_path)), manifest, wrong)
    with pytest.raises(
        UserError, match=r"shard-.* cut into 2 rows .* counts 3.*delete .*mmbert data"
    ):
        next(Phase(other).packs())


def test_rows_wanted_of_a_stratum_without_any_are_refused(tmp_path: Path) -> None:
    url = make_manifest(tmp_path, {STRATUM: [[]]}, rows={STRATUM: 1})
    with pytest.raises(UserError, match="fineweb2/fao_Latn/all"):
        Phase(url)


def test_a_manifest_of_another_order_is_refused(tmp_path: Path) -> None:
    url = make_manifest(tmp_path, {STRATUM: [[5]]})
    manifest = load_manifest(url).model_copy(update={"order_version": 99, "id": "old"})
    with pytest.raises(UserError, match="order version 99"):
        Phase(publish(Store.at(str(tmp_path)), manifest, load_shards(url)))


def test_few_open_shards_deliver_the_same(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [content(pack) for pack in Phase(url).packs()]
    monkeypatch.setattr("trainer.phase._OPEN_SHARDS", 1)
    assert [content(pack) for pack in Phase(url).packs()] == expected


def test_packs_are_full(tmp_path: Path) -> None:
    """Loose: a window of 20 packs wastes about half of one; see test_pack for 200."""
    documents = np.exp(np.random.default_rng(0).normal(4, 1, 6_000)).astype(int) + 1
    packing = Packing(pack_tokens=2_048, max_pieces=512, window_packs=20)
    url = make_manifest(tmp_path, {STRATUM: [documents.tolist()]}, Settings(packing=packing))
    phase = Phase(url)
    assert phase.windows >= 10
    filled = [phase.plan(window).pack_lengths for window in range(phase.windows)]
    assert np.concatenate(filled).mean() > 0.96 * packing.pack_tokens


def test_it_needs_numpy_and_pyarrow_alone(url: str) -> None:
    """What takes seconds to import, or is no part of a plain loop, is not even looked for."""
    code = f"""
import sys
from trainer.phase import Phase
phase = Phase({url!r})
assert sum(phase.mask(pack).targets.size for pack in phase.packs()) > 0
heavy = {{"torch", "transformers", "prefect", "pandas", "datatrove", "apache_beam"}}
print(sorted(heavy & set(sys.modules)))
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout == "[]\n"
