"""The examples in docs/ train on a phase's packs, each piece by itself."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM

from schemas.manifest import Packing
from tests.stores import VOCAB_SIZE, Settings, make_manifest
from trainer.phase import Phase

DOCS = Path(__file__).parents[3] / "docs"
CONFIG = ModernBertConfig(
    vocab_size=VOCAB_SIZE,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=2,
    local_attention=16,
    pad_token_id=0,
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    lengths = np.random.default_rng(0).integers(5, 200, 30).tolist()
    packing = Packing(pack_tokens=512, max_pieces=64, window_packs=4)
    root = tmp_path_factory.mktemp("store")
    return make_manifest(root, {"fineweb2/fao_Latn/all": [lengths]}, Settings(packing=packing))


def test_a_plain_loop_trains(url: str) -> None:
    losses = runpy.run_path(str(DOCS / "plain_loop.py"))["train"](url, 3, CONFIG)
    assert len(losses) == 3
    assert np.isfinite(losses).all()


def test_transformers_trainer_trains(url: str, tmp_path: Path) -> None:
    example = runpy.run_path(str(DOCS / "transformers_trainer.py"))
    losses = example["train"](url, 3, CONFIG, str(tmp_path))
    assert len(losses) == 3
    assert np.isfinite(losses).all()


def test_no_piece_sees_another(url: str) -> None:
    """A pack as one row and its pieces as rows of their own have one loss."""
    packed = runpy.run_path(str(DOCS / "plain_loop.py"))["inputs"]
    padded = runpy.run_path(str(DOCS / "transformers_trainer.py"))["padded"]
    torch.manual_seed(0)
    phase, model = Phase(url), ModernBertForMaskedLM(CONFIG).eval()
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)  # fresh ones attend to everything alike
    pack = next(phase.packs())
    assert pack.num_pieces > 2
    with torch.no_grad():
        together = model(**packed(phase, pack, CONFIG.local_attention // 2)).loss
        apart = model(**padded(phase, pack)).loss
    assert together.item() == pytest.approx(apart.item(), rel=1e-5)
