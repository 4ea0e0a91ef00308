"""The loader's benchmark: what it reads is the phase, and a peer that does not run is said so."""

import itertools
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import loader, loader_peers
from tests.stores import Settings, make_manifest
from trainer.phase import Phase

LENGTHS = {
    "fineweb2/deu_Latn/all": [[300, 20, 7], [90]],
    "fineweb2/fao_Latn/all": [[150, 40]],
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_manifest(tmp_path_factory.mktemp("store"), LENGTHS, Settings(windows=7, epochs=200))


def test_it_counts_every_pack_of_the_phase(url: str) -> None:
    figures = loader.measure(url, 0.0)
    packs = list(Phase(url).packs())
    assert figures.packs == len(packs)
    assert figures.tokens == sum(pack.ids.size for pack in packs[1:])


def test_a_cold_phase_delivers_all_its_tokens(url: str) -> None:
    told = loader.measure_cold(url)
    assert told["delivered"] == 4 * sum(pack.eligible for pack in Phase(url).packs())
    assert told["read"] >= 0


def test_a_peer_that_does_not_run_has_no_figure(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_peers, "PEERS", {"streaming": ("mosaic.py", "one")})
    table = loader_peers.table(url, 2, 128, Path(sys.prefix), 1e8)
    _, (name, told, *_) = table.rows
    assert name == "streaming"
    assert str(told).startswith("does not run: ModuleNotFoundError")


def test_peers_get_the_documents_of_the_phase(url: str, tmp_path: Path) -> None:
    packer = _packer()
    loader_peers.write_text(url, tmp_path / "text")
    pieces = packer["pieces"](tmp_path / "text", 128)
    assert sorted(pieces) == ["deu_Latn-0", "fao_Latn-1"]
    assert [len(piece) for piece in pieces["deu_Latn-0"]] == [126, 126, 48, 20, 7, 90]


def test_their_packer_packs_each_document_once() -> None:
    draw = np.random.default_rng(0)
    documents = [draw.integers(5, 100, length) for length in draw.integers(1, 30_000, 50)]
    packs = list(_packer()["packs"](iter(documents)))
    assert all(ids.size <= 49_152 for ids, _, _ in packs)
    found = [
        ids[first + 1 : last - 1].tobytes()
        for ids, _, bounds in packs
        for first, last in itertools.pairwise(bounds)
    ]
    assert sorted(found) == sorted(document.tobytes() for document in documents)


def _packer() -> dict:
    return runpy.run_path(str(loader_peers.SCRIPTS / "packer.py"))
