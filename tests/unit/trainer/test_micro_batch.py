"""Packs that are cut into micro-batches need less memory for a step that computes the same."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.recipe import ModelSettings
from tests import ranks
from tests.runs import MODEL, alone, first_step, make_run, phase_settings
from tests.stores import SPECIAL
from trainer import loop, micro_batch
from trainer.journal import Lines
from trainer.learner import begin
from trainer.loop import batches, micro_batches, with_last
from trainer.phase import Pack, Phase
from trainer.session import Session

PRETRAIN = phase_settings(batch_packs=4)
UNDROPPED = ModelSettings.model_validate(MODEL.model_dump() | {"attn_out_dropout": 0.0})


def pack_of(*lengths: int) -> Pack:
    """Pieces of these lengths, BOS and EOS counted."""
    ends = np.cumsum(lengths)
    none = np.zeros(len(lengths), np.int64)
    ids, positions = np.arange(ends[-1]), np.concatenate([np.arange(n) for n in lengths])
    bounds = np.concatenate([[0], ends]).astype(np.int32)
    length = np.array(lengths) - 2
    shard = none.astype(np.uint64)
    return Pack(0, 0, ids, positions, bounds, none.astype(np.int32), shard, none, none, length)


@pytest.mark.parametrize(
    ("most", "parts"),
    [
        (None, [(0, 4)]),
        (100, [(0, 4)]),
        (60, [(0, 3), (3, 4)]),
        (59, [(0, 2), (2, 3), (3, 4)]),
        (30, [(0, 2), (2, 3), (3, 4)]),
        (5, [(0, 1), (1, 2), (2, 3), (3, 4)]),  # a piece is never cut
    ],
)
def test_a_pack_is_cut_between_its_pieces(most: int | None, parts: list[tuple[int, int]]) -> None:
    assert micro_batch.cut(pack_of(10, 20, 30, 40), most) == parts


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with alone(make_run(tmp_path, {"pretrain": PRETRAIN}, model=UNDROPPED)) as opened:
        yield opened


def cut_at(session: Session, most_tokens: int) -> Session:
    return Session(**{**vars(session), "micro_batch_tokens": most_tokens})


def test_the_parts_of_a_pack_are_the_pack(session: Session) -> None:
    (phase,) = session.run.phases
    data = Phase(session.store.resolve(phase.manifest))
    pack = next(data.packs())
    masked = data.mask(pack)
    whole = micro_batch.of_pack(pack, masked, 128, session.ranks.device)
    cuts = micro_batch.cut(pack, 100)
    assert len(cuts) > 1
    parts = [micro_batch.of_pack(pack, masked, 128, session.ranks.device, cut) for cut in cuts]
    for field in ("ids_T", "positions_T", "target_ids_M"):
        joined = torch.cat([getattr(part, field) for part in parts])
        assert torch.equal(joined, getattr(whole, field))
    for part in parts:
        assert part.cu_seqlens[0] == 0
        assert part.cu_seqlens[-1] == part.ids_T.numel() <= 130
        assert part.positions_T[part.cu_seqlens[:-1]].tolist() == [0] * len(part.cu_seqlens[:-1])
    shown = torch.cat([part.ids_T[part.target_positions_M] for part in parts])
    assert torch.equal(shown, whole.ids_T[whole.target_positions_M])


def step(session: Session) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the first step."""
    first = first_step(session)
    return first.figures[0], first.gradients


def test_a_cut_step_has_the_loss_and_the_gradient_of_the_uncut_one(session: Session) -> None:
    """In fp32 without dropout, within 1e-5 of the loss and 1e-4 of each gradient's largest part."""
    loss, gradients = step(session)
    for most in (128, 1):
        cut_loss, cut_gradients = step(cut_at(session, most))
        assert cut_loss == pytest.approx(loss, rel=1e-5)
        for name, gradient in gradients.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(cut_gradients[name], gradient, rtol=0, atol=1e-4 * scale)


def test_dropout_of_a_part_is_its_own_and_always_the_same(tmp_path: Path) -> None:
    with alone(make_run(tmp_path, {"pretrain": PRETRAIN})) as session:
        (phase,) = session.run.phases
        data = Phase(session.store.resolve(phase.manifest))
        _, point = begin(session, phase)
        batch = next(batches(session, phase, data, point))
        whole = [key for _, key in micro_batches(session, data, batch)]
        cut = [key for _, key in micro_batches(cut_at(session, 100), data, batch)]
        again = [key for _, key in micro_batches(cut_at(session, 100), data, batch)]
        assert cut == again
        assert len(set(cut)) == len(cut) > len(whole)
        assert set(whole) < set(cut)


def test_gradients_are_summed_over_the_ranks_once_a_step(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_back = []
    monkeypatch.setattr(loop, "no_sync", lambda model: kept_back.append(model) or nullcontext())
    step(cut_at(session, 1))
    (phase,) = session.run.phases
    data = Phase(session.store.resolve(phase.manifest))
    pieces = sum(pack.num_pieces for pack in list(data.packs())[:4])
    assert len(kept_back) == pieces - 1
    assert list(with_last("abc")) == [("a", False), ("b", False), ("c", True)]


def test_ranks_that_cut_train_as_one_that_does_not(tmp_path: Path) -> None:
    run_json = make_run(tmp_path, {"pretrain": PRETRAIN}, model=UNDROPPED)
    assert ranks.start(run_json).wait() == [0]
    whole = losses(run_json)
    for name in ("checkpoints", "models"):
        Path(run_json).with_name(name).rename(tmp_path / name)
    for name in ("log.jsonl", "journal.jsonl"):
        Path(run_json).with_name(name).unlink()
    assert ranks.start(run_json, "--micro-batch-tokens", "100", world=2).wait() == [0, 0]
    assert losses(run_json) == pytest.approx(whole, rel=1e-5)
    assert len(whole) > 5


def losses(run_json: str) -> list[float]:
    log = Lines(Path(run_json).with_name("log.jsonl"), write=False).read()
    return [line["loss"] for line in log if line["kind"] == "step"]


def test_copies_to_a_gpu_come_from_pinned_memory_and_none_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As far as it can be told without one: torch's own two calls stand in."""
    pinned: list[int] = []
    copied: list[tuple[int, bool]] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        twin = tensor.clone()
        pinned.append(twin.data_ptr())
        return twin

    def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        copied.append((tensor.data_ptr(), non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    micro_batch.empty(SPECIAL, 128, torch.device("cpu"))
    assert not pinned
    copied.clear()
    made = micro_batch.empty(SPECIAL, 128, torch.device("cuda"))
    assert [place for place, _ in copied] == pinned
    assert [waits_not for _, waits_not in copied] == [True] * 5
    assert made.ids_T.tolist() == [SPECIAL.bos, SPECIAL.eos]
