"""A shard whose bytes are not those that its name tells of stops what trains on it, by name.

Unless erased.json tells of the bytes it has. Local shards are hashed beside their use, each once.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from schemas import erased
from schemas.digest import sha256
from schemas.erased import Erased, ErasedShard
from schemas.errors import UserError
from schemas.shard import digest_of, open_shard
from tests import ranks
from tests.runs import make_run, phase_settings
from tests.stores import Settings, make_manifest
from trainer import open_shards
from trainer.phase import Phase

LENGTHS = {
    "fineweb2/deu_Latn/all": [[50, 60, 70, 33] * 6 for _ in range(3)],
    "fineweb2/fao_Latn/all": [[30] * 5],
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return make_manifest(tmp_path, LENGTHS, Settings(epochs=3.0))


def change_a_token(path: Path) -> None:
    """One bit of the last token."""
    tokens = open_shard(str(path)).tokens.tobytes()
    data = bytearray(path.read_bytes())
    data[data.index(tokens) + len(tokens) - 4] ^= 1
    path.write_bytes(bytes(data))


def first_shard(root: Path) -> Path:
    return min(root.glob("strata/fineweb2/deu_Latn/all/*/*.arrow"))


def deliver(url: str) -> int:
    return sum(1 for _ in Phase(url).packs())


def test_a_damaged_shard_is_named_before_the_phase_ends(url: str, tmp_path: Path) -> None:
    shard = first_shard(tmp_path)
    change_a_token(shard)
    with pytest.raises(UserError, match=f"{shard.name} is damaged: .* delete its stratum's folder"):
        deliver(url)


def test_a_phase_of_whole_shards_hashes_each_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: Counter[str] = Counter()
    require_whole = open_shards.require_whole

    def count(place: str, path: Path) -> None:
        hashed[path.name] += 1
        require_whole(place, path)

    monkeypatch.setattr(open_shards, "require_whole", count)
    assert deliver(url) > 10
    assert len(hashed) == 4
    assert set(hashed.values()) == {1}
    assert not [thread for thread in threading.enumerate() if thread.name == "hash"]


def test_damage_stops_a_phase_in_its_midst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = threading.Event()

    def find_damage(place: str, path: Path) -> None:
        found.set()
        raise UserError("damaged")

    monkeypatch.setattr(open_shards, "require_whole", find_damage)
    one_shard = {"fineweb2/deu_Latn/all": [[50, 60, 70, 33] * 6]}
    phase = Phase(make_manifest(tmp_path, one_shard, Settings(epochs=200.0)))
    delivered: list[bool] = []
    with pytest.raises(UserError, match="damaged"):
        delivered.extend(found.wait(30) for _ in phase.packs())
    assert all(delivered)
    num_packs = sum(phase.plan(window).num_packs for window in range(phase.windows))
    assert len(delivered) < num_packs // 2


def test_no_phase_ends_before_its_shards_are_hashed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered = threading.Event()

    def find_damage(place: str, path: Path) -> None:
        assert delivered.wait(30)
        raise UserError("damaged")

    monkeypatch.setattr(open_shards, "require_whole", find_damage)
    phase = Phase(url)
    packs = phase.packs()
    for _ in range(sum(phase.plan(window).num_packs for window in range(phase.windows))):
        next(packs)
    delivered.set()
    with pytest.raises(UserError, match="damaged"):
        next(packs)


def test_what_only_plans_reads_no_shard_whole(url: str, tmp_path: Path) -> None:
    change_a_token(first_shard(tmp_path))
    phase = Phase(url)
    assert all(phase.plan(window).num_packs for window in range(phase.windows))
    phase.shards.require_whole()


def test_an_erased_shard_is_delivered(url: str, tmp_path: Path) -> None:
    shard = first_shard(tmp_path)
    change_a_token(shard)
    entry = ErasedShard(
        before=digest_of(shard.name), after=sha256(shard.read_bytes()), documents=(23,)
    )
    erased.save(str(shard.parent), Erased(shards={shard.name: entry}))
    assert deliver(url) > 10


def test_an_erasure_that_was_cut_off_is_to_be_done_again(url: str, tmp_path: Path) -> None:
    shard = first_shard(tmp_path)
    change_a_token(shard)
    entry = ErasedShard(before=digest_of(shard.name), after="0" * 64, documents=(23,))
    erased.save(str(shard.parent), Erased(shards={shard.name: entry}))
    with pytest.raises(UserError, match="erase the same documents again with `mmbert data erase`"):
        deliver(url)


def test_a_training_ends_with_the_sentence(tmp_path: Path) -> None:
    run_json = make_run(tmp_path, {"pretrain": phase_settings()}, epochs=50)
    (shard,) = tmp_path.glob("strata/fineweb2/fao_Latn/all/*/*.arrow")
    change_a_token(shard)
    running = ranks.start(run_json)
    assert running.wait() == [2]
    (sentence,) = running.sentences()
    assert f"{shard.name} is damaged" in sentence


def test_a_damaged_held_out_shard_stops_a_run(tmp_path: Path) -> None:
    run_json = make_run(tmp_path, {"pretrain": phase_settings()})
    shard = min(tmp_path.glob("strata/fineweb2/fao_Latn/heldout/*/*.arrow"))
    change_a_token(shard)
    running = ranks.start(run_json)
    assert running.wait() == [2]
    (sentence,) = running.sentences()
    assert f"{shard.name} is damaged: " in sentence
