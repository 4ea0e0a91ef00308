"""The arithmetic of order, packs and masks is final: its digests are committed.

`tests/golden/order.json` holds test vectors of the keyed hash (FORMAT.md cites them) and the
digests of everything that a small fixed store delivers. A change to any of them breaks the
resumption of every run there is, so it needs a new `schemas.manifest.ORDER_VERSION`; then
`python -m tests.unit.trainer.test_golden_order` writes the file anew.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np

from schemas.keyed import key64, keyed, keyed_array
from schemas.manifest import ORDER_VERSION, Packing
from tests.stores import Settings, make_manifest
from trainer.phase import Phase

GOLDEN = Path(__file__).parents[2] / "golden" / "order.json"

NAMES = ("", "mmbert", "rows", "shards", "when", "tail", "pack", "packs", "places", "mask")
PARTS = ((0,), (1,), (0, 0), (1, 2, 3), (2**64 - 1, 2**63), (key64("mmbert"), 42))


def _lengths(key: int, num: int, longest: int) -> list[int]:
    hashes = keyed_array(keyed(key), np.arange(num, dtype=np.uint64))
    return (1 + hashes % np.uint64(longest)).tolist()


def _fixed_phase(root: Path) -> Phase:
    """Long documents, several shards and epochs, an empty shard, exclusions of both kinds."""
    lengths = {
        "dclm/eng_Latn/high": [_lengths(1, 60, 900), _lengths(2, 40, 900)],
        "fineweb2/deu_Latn/all": [_lengths(3, 50, 300), [], _lengths(4, 9, 300)],
        "fineweb2/fao_Latn/all": [_lengths(5, 7, 100)],
        "fineweb2/tir_Ethi/all": [[1]],
    }
    settings = Settings(
        context=256,
        packing=Packing(pack_tokens=2_048, max_pieces=24, window_packs=6),
        epochs=2.4,
        seed=2026,
        mask_rate=0.3,
    )
    excluded = {0: [("dclm/eng_Latn/high", 0, 3)], 5: [("fineweb2/deu_Latn/all", 0, 8)]}
    return Phase(make_manifest(root, lengths, settings, None, excluded, fixed_digests=True))


def compute(root: Path) -> dict[str, object]:
    phase = _fixed_phase(root)
    packs, masks = hashlib.sha256(), hashlib.sha256()
    for pack in phase.packs():
        for array in (pack.ids, pack.positions, pack.cu_seqlens, pack.stratum, pack.shard):
            packs.update(array.astype("<i8").tobytes())
        masked = phase.mask(pack)
        for array in (masked.ids, masked.positions, masked.targets):
            masks.update(array.astype("<i8").tobytes())
    return {
        "order_version": ORDER_VERSION,
        "key64": {name: f"{key64(name):016x}" for name in NAMES},
        "keyed": [
            {"parts": [f"{p:016x}" for p in ps], "hash": f"{keyed(*ps):016x}"} for ps in PARTS
        ],
        "plans": [phase.plan(window).digest() for window in range(phase.windows)],
        "packs": packs.hexdigest(),
        "masks": masks.hexdigest(),
    }


def test_order_packs_and_masks_are_what_they_were(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden == compute(tmp_path), (
        "the data order has changed: runs could not resume. If that is meant, bump "
        "schemas.manifest.ORDER_VERSION and run python -m tests.unit.trainer.test_golden_order"
    )


def test_arrays_and_single_integers_hash_alike() -> None:
    values = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    assert keyed_array(keyed(7), values).tolist() == [keyed(7, int(v)) for v in values]


if __name__ == "__main__":
    if GOLDEN.exists() and json.loads(GOLDEN.read_text())["order_version"] == ORDER_VERSION:
        raise SystemExit("bump schemas.manifest.ORDER_VERSION first: its digests are sealed")
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps(compute(Path(folder)), indent=1) + "\n")
