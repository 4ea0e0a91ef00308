"""A model scored on the held-out text of a run, whoever made the model.

In: a `transformers` directory of ModernBERT with the run's tokenizer, and a run.json. Out: the
`Score` that the run's own log would hold of it (trainer/heldout.py): same text, same mask, same
precision, so the two may stand beside each other.
"""

from __future__ import annotations

from pathlib import Path

import torch

from schemas import run as runs
from schemas import seal as seals
from schemas.errors import UserError
from schemas.run import Heldout
from schemas.seal import Seal
from schemas.store import read_bytes
from schemas.token_bytes import token_bytes
from trainer.convert import from_transformers
from trainer.distributed import join
from trainer.heldout import Score, evaluate
from trainer.heldout_text import HeldoutText


def score_folder(folder: Path, run_json: Path, device: str | None = None) -> Score:
    """Bits per byte by language, on a GPU where there is one.

    Raises UserError for a folder that is no model, and for one of another tokenizer.
    """
    run, store = runs.load(str(run_json)), runs.store_of(str(run_json))
    sealed, tokenizer_json = seals.load(store.resolve(run.tokenizer))
    _require_tokenizer(folder, sealed)
    held_out = Heldout.model_validate_json(read_bytes(store.resolve(run.heldout)))
    model, theta = from_transformers.load(folder)
    ranks = join(device)
    sizes = torch.from_numpy(token_bytes(tokenizer_json, sealed))
    kind, bf16 = ranks.device.type, run.optimiser.precision == "bf16"
    model.to(ranks.device)
    with torch.autocast(kind, torch.bfloat16, enabled=bf16):
        return evaluate(model, theta, HeldoutText(store, held_out, sealed), sizes, ranks)


def _require_tokenizer(folder: Path, sealed: Seal) -> None:
    """A figure per byte of text means something only over the same tokens (I10)."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError(
            f"{folder} has no tokenizer.json, so nobody can tell what its token ids mean; put the "
            "model's tokenizer beside its weights"
        )
    found = seals.seal(file.read_bytes(), sealed.special, origin=str(file))
    seals.require_same(found.digest, sealed.digest, str(file))
