"""The first step of a phase equals an update computed by hand; its rates follow its clock.

The hand takes weights and moments from the end of the phase before, the gradient from
transformers' ModernBERT in float64, one document at a time, and StableAdamW's published formulas.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader
from torch.distributed.checkpoint.filesystem import FileSystemReader
from transformers import ModernBertConfig, ModernBertForMaskedLM

from tests.runs import MODEL, alone, make_run, phase_settings
from trainer.journal import Lines
from trainer.loop import train
from trainer.phase import Batch, Phase

KINDS = ("model", "exp_avg", "exp_avg_sq")
BETAS, EPS = (0.9, 0.95), 1e-8
PRETRAIN = phase_settings(
    learning_rate=2e-3,
    weight_decay=1e-4,
    warmup_tokens=1500,
    batch_packs=4,
    min_batch_packs=2,
    batch_warmup_tokens=2500,
)
EXTEND = phase_settings(  # one step, of all its packs
    after="pretrain",
    context=256,
    mask_rate=0.15,
    rope_theta=160_000.0,
    learning_rate=1e-3,
    weight_decay=5e-4,
    warmup_tokens=0,
    batch_packs=1000,
)
DECAY = phase_settings(
    after="extend",
    context=256,
    mask_rate=0.05,
    rope_theta=160_000.0,
    learning_rate=5e-4,
    warmup_tokens=0,
    schedule="one-minus-sqrt",
    floor=0.02,
    batch_packs=2,
)
PHASES = {"pretrain": PRETRAIN, "extend": EXTEND, "decay": DECAY}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, trained, without dropout."""
    model = MODEL.model_copy(update={"attn_out_dropout": 0.0})
    run_json = make_run(tmp_path_factory.mktemp("run"), PHASES, epochs=3, model=model)
    with alone(run_json) as session:
        train(session, session.run.phases)
    return Path(run_json).parent


def steps(run: Path, phase: str) -> list[dict]:
    found = Lines(run / "log.jsonl", write=False).read()
    return [line for line in found if (line["kind"], line["phase"]) == ("step", phase)]


def data_of(run: Path, phase: str) -> Phase:
    described = json.loads((run / "run.json").read_bytes())["phases"]
    (manifest,) = [entry["manifest"] for entry in described if entry["name"] == phase]
    return Phase(str(run.parents[1] / manifest))


def at_end_of(run: Path, phase: str) -> dict[str, Tensor]:
    """model.<parameter>, exp_avg.<parameter>, exp_avg_sq.<parameter> in float64, and steps."""
    (folder,) = (run / "checkpoints").glob(f"{phase}-*")
    reader = FileSystemReader(folder)
    held = reader.read_metadata().state_dict_metadata
    found = {name: torch.empty(meta.size) for name, meta in held.items()}
    state_dict_loader.load(found, storage_reader=reader)
    return {name: tensor.double() for name, tensor in found.items()}


def gradient(run: Path, phase: str, weights: dict[str, Tensor], batch: Batch) -> tuple[float, dict]:
    """Mean loss of a batch and its gradient, by transformers, with the rotary base of `phase`."""
    config = ModernBertConfig.from_pretrained(run / "models" / "untrained")
    for kind in ("full_attention", "sliding_attention"):
        config.rope_parameters[kind]["rope_theta"] = PHASES[phase].rope_theta
    model = ModernBertForMaskedLM(config).double().eval()
    model.load_state_dict(weights)
    data, total = data_of(run, phase), torch.zeros((), dtype=torch.float64)
    for pack in batch.packs:
        masked = data.mask(pack)
        ids, labels = torch.from_numpy(masked.ids), torch.full((pack.ids.size,), -100)
        labels[torch.from_numpy(masked.positions)] = torch.from_numpy(masked.targets)
        bounds = pack.cu_seqlens.tolist()
        for first, last in pairwise(bounds):
            logits = model(input_ids=ids[None, first:last]).logits[0]
            total = total + torch.nn.functional.cross_entropy(
                logits, labels[first:last], reduction="sum", ignore_index=-100
            )
    loss = total / batch.num_targets
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters()}


def part(held: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {n.removeprefix(f"{kind}."): t for n, t in held.items() if n.startswith(f"{kind}.")}


def updated(p: Tensor, m: Tensor, v: Tensor, g: Tensor, t: int, lr: float, decay: float) -> tuple:
    """StableAdamW, step t, at the peak rate: weights and both moments after it."""
    b1, b2 = ((beta**t - beta) / (beta**t - 1) for beta in BETAS)
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g**2
    surprise = (g**2 / v.clamp(min=EPS**2)).mean().sqrt()
    lr_t = lr / max(1.0, surprise.item())
    shrunk = p * (1 - lr_t / lr * decay) if p.ndim > 1 else p
    return shrunk - lr_t * m / (v.sqrt() + EPS), m, v


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_the_first_step_of_a_phase_is_the_formula(run: Path) -> None:
    before, after = at_end_of(run, "pretrain"), at_end_of(run, "extend")
    (step,) = steps(run, "extend")
    (batch,) = data_of(run, "extend").batches(batch_packs=lambda clock: 1000)
    loss, gradients = gradient(run, "extend", part(before, "model"), batch)
    assert step["loss"] == pytest.approx(loss, rel=1e-6)
    assert step["lr"] == EXTEND.learning_rate

    t = step["step"]
    assert before["steps"].tolist() == [t - 1, t - 1]
    assert after["steps"].tolist() == [t, t]
    for name, g in gradients.items():
        held = (before[f"{kind}.{name}"] for kind in KINDS)
        by_hand = updated(*held, g, t, step["lr"], EXTEND.weight_decay)
        for kind, hand in zip(KINDS, by_hand, strict=True):
            found, largest = after[f"{kind}.{name}"], hand.abs().max().item()
            # fp32 holds a weight of 1 to 6e-8: all but the last bit of steps of 1e-3.
            atol = 1e-8 if kind == "model" else 1e-6 * largest
            torch.testing.assert_close(found, hand, rtol=1e-7, atol=atol)


def test_learning_rate_and_batch_size_follow_the_clock(run: Path) -> None:
    for clock, line in clocks(run, "pretrain"):
        assert line["lr"] == pytest.approx(2e-3 * min(1.0, clock / 1500))
        # Sizes 2 and 3 share the first 2,500 tokens as 2 to 3: as many steps each.
        size = 2 if clock < 1000 else 3 if clock < 2500 else 4
        assert line["batch_packs"] == size
    budget = data_of(run, "decay").manifest.budget_tokens
    rates = [line["lr"] for _, line in clocks(run, "decay")]
    expected = [5e-4 * (0.02 + 0.98 * (1 - (t / budget) ** 0.5)) for t, _ in clocks(run, "decay")]
    assert rates == pytest.approx(expected)
    assert rates[0] == 5e-4
    assert len(rates) > 5


@pytest.mark.parametrize("phase", list(PHASES))
def test_the_mask_rate_is_that_of_the_phase(run: Path, phase: str) -> None:
    data = data_of(run, phase)
    for pack in data.packs():
        eligible = pack.ids.size - 2 * (pack.cu_seqlens.size - 1)  # no BOS, no EOS
        assert abs(data.mask(pack).targets.size - PHASES[phase].mask_rate * eligible) <= 0.5


def clocks(run: Path, phase: str) -> list[tuple[float, dict]]:
    """Each step's line, with the clock before it: whole windows and the packs of the one it is in.

    The last batch is left out: it may be short.
    """
    journal = Lines(run / "journal.jsonl", write=False).read()
    packs = {line["window"]: line["packs"] for line in journal if line["phase"] == phase}
    budget = data_of(run, phase).manifest.budget_tokens
    return [
        (budget * (line["window"] + line["pack"] / packs[line["window"]]) / len(packs), line)
        for line in steps(run, phase)[:-1]
    ]
