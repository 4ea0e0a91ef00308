"""The loop: what a phase change keeps and replaces, what a step's loss is, when it is scored."""

import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from schemas.errors import UserError
from tests.runs import first_step, make_run, phase_settings
from trainer import micro_batch, results
from trainer.distributed import Ranks
from trainer.heldout import evaluate, is_due, num_evaluations
from trainer.learner import begin
from trainer.loop import batches, compare_plans, train
from trainer.model import Theta
from trainer.phase import Phase
from trainer.session import Session, chosen, open_session

ALONE = Ranks(0, 1, torch.device("cpu"))
PRETRAIN = phase_settings(weight_decay=1e-4)
EXTEND = phase_settings(
    after="pretrain", learning_rate=1e-4, weight_decay=5e-5, rope_theta=160_000.0, mask_rate=0.15
)


@pytest.fixture(autouse=True)
def _a_process_of_its_own(monkeypatch):
    """What a training process sets for itself is put back; one thread, since tests share cores."""
    monkeypatch.setattr(results, "report", lambda session: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    torch.set_num_threads(threads)


def session_of(root: Path, precision: str = "fp32", **phases) -> Session:
    return open_session(make_run(root, phases, precision=precision), ALONE, 300.0)


def test_a_phase_keeps_weights_moments_and_step_and_brings_its_own_constants(tmp_path):
    session = session_of(tmp_path, pretrain=PRETRAIN, extend=EXTEND)
    pretrain, extend = session.run.phases
    train(session, (pretrain,))
    ended, end = begin(session, pretrain)
    entered, start = begin(session, extend)

    assert end.end
    assert (start.step, start.window, start.pack, start.tokens) == (end.step, 0, 0, 0)
    for p, q in zip(ended.model.parameters(), entered.model.parameters(), strict=True):
        assert torch.equal(p, q)
        for moment in ("exp_avg", "exp_avg_sq"):
            kept = entered.optimiser.state[q][moment]
            assert torch.equal(ended.optimiser.state[p][moment], kept)
            assert kept.abs().sum() > 0
    matrices, vectors = entered.optimiser.param_groups
    assert int(matrices["step"]) == int(vectors["step"]) == end.step
    assert (matrices["lr"], matrices["max_lr"]) == (1e-4, 1e-4)
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (5e-5, 0.0)
    assert entered.theta == Theta(160_000.0, 160_000.0)


def test_a_phase_whose_start_is_not_trained_is_refused(tmp_path):
    session = session_of(tmp_path, pretrain=PRETRAIN, extend=EXTEND)
    with pytest.raises(UserError, match="extend starts from the end of pretrain"):
        train(session, chosen(session.run, "extend"))
    with pytest.raises(UserError, match="its phases are pretrain, extend"):
        chosen(session.run, "decay")


def test_the_gradient_of_a_step_is_that_of_the_mean_over_all_its_targets(tmp_path):
    session = session_of(tmp_path, pretrain=PRETRAIN.model_copy(update={"batch_packs": 4}))
    (phase,) = session.run.phases
    data, batch, seen, (nats, stop, save, norm) = first_step(session)

    twin, _ = begin(session, phase)
    total = torch.zeros(())
    for pack in batch.packs:
        inputs = micro_batch.of_pack(pack, data.mask(pack), 128, ALONE.device)
        key = _dropout_key(session, data, pack)
        total = total + twin.model(*inputs, phase.settings.rope_theta, key)
    (total / batch.num_targets).backward()
    assert nats == pytest.approx(total.item())
    assert (stop, save) == (0, 0)
    for name, parameter in twin.model.named_parameters():
        torch.testing.assert_close(seen[name], parameter.grad, rtol=1e-4, atol=1e-7)
    gradients = torch.cat([p.grad.flatten() for p in twin.model.parameters()])
    assert norm == pytest.approx(gradients.norm().item(), rel=1e-4)


def _dropout_key(session, data, pack):
    from schemas.keyed import key64, keyed

    return keyed(session.run.seed, key64("dropout"), data.key, pack.window, pack.index)


def test_bf16_trains(tmp_path):
    session = session_of(tmp_path, precision="bf16", pretrain=PRETRAIN)
    assert "finished" in train(session, session.run.phases)
    lines = session.log.read()
    losses = [line["loss"] for line in lines if line["kind"] == "step"]
    assert losses[-1] < losses[0]


def test_the_held_out_score_is_the_same_for_any_number_of_ranks_and_any_packing(tmp_path):
    session = session_of(tmp_path, pretrain=PRETRAIN)
    learner, _ = begin(session, session.run.phases[0])
    whole = evaluate(learner.model, 1e4, session.text, session.token_bytes, ALONE)
    assert {c: s.documents for c, s in whole.languages.items()} == {"deu": 5, "fao": 5}
    assert whole.languages["deu"].num_bytes > 0

    rows = list(session.text.rows(0, 1))
    shared = [row for rank in range(3) for row in session.text.rows(rank, 3)]
    assert len(shared) == len(rows)
    nats = dict.fromkeys(["deu", "fao"], 0.0)
    for row in shared:
        one = micro_batch.of_rows([row.masked], 128, ALONE.device)
        nats[row.language[:3]] += learner.model.nll(*one, 1e4).sum().item()
    assert nats == pytest.approx({c: s.nats for c, s in whole.languages.items()})


def test_scores_fall_at_equal_distances_and_cost_a_bounded_share():
    assert num_evaluations(1_000_000, 1_000) == 8
    assert num_evaluations(1_000_000, 100_000) == 3
    assert num_evaluations(1_000_000, 50_000_000) == 1
    clock = [0.0, 0.1, 0.3, 0.5, 0.95, 1.0]
    due = [is_due(4, a, b) for a, b in pairwise(clock)]
    assert due == [False, True, True, True, True]


def test_ranks_wait_for_the_slowest_fetch_before_they_compare_a_window(tmp_path):
    called = []

    class Called(Ranks):
        def wait(self) -> None:
            called.append("wait")

        def require_equal(self, digest: str, what: str) -> None:
            called.append(what)

    session = session_of(tmp_path, pretrain=PRETRAIN)
    session = replace(session, ranks=Called(0, 1, torch.device("cpu")))
    (phase,) = session.run.phases
    data = Phase(session.store.resolve(phase.current))
    _, point = begin(session, phase)
    planned = -1
    called.clear()
    for batch in batches(session, phase, data, point):
        planned = compare_plans(session, data, batch, point, planned)
    windows = [f"the plan of window {w} of phase pretrain" for w in range(data.windows)]
    assert called == [said for window in windows for said in ("wait", window)]
