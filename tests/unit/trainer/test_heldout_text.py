"""The held-out text of a remote store is fetched ahead of its reading."""

import uuid
from pathlib import Path

import fsspec
import pytest

from schemas import run as runs
from schemas.run import Heldout
from schemas.seal import Seal
from schemas.store import Store, read_bytes
from tests.runs import make_run, phase_settings
from trainer import shard_cache
from trainer.heldout_text import HeldoutText


def test_what_follows_a_shard_is_fetched_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_run(tmp_path / "store", {"pretrain": phase_settings()})
    here, run = runs.store_of(url), runs.load(url)
    held_out = Heldout.model_validate_json(read_bytes(here.resolve(run.heldout)))
    place = here.resolve(f"{run.tokenizer}/seal.json")
    sealed = Seal.model_validate_json(read_bytes(place))
    store = Store(f"memory://{uuid.uuid4().hex}")
    fsspec.filesystem("memory").put(here.url, store.url, recursive=True)
    monkeypatch.setenv(shard_cache.FOLDER, str(tmp_path / "cache"))
    text = HeldoutText(store, held_out, sealed)
    names = [name for part in held_out.strata for name in part.shards]
    assert len(names) > 1
    next(text.rows(0, 1))
    text._cache._ahead.finish()
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == len(names)
