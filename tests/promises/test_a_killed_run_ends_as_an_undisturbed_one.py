"""I3, I8 over a whole cascade: three kills and four world sizes change nothing that counts.

The five phases of `tiny` with a small model, over the corpus beside the checkout, where there is
one: real text of 400 languages; else over a sample. One run is left alone, on one rank. Its twin is
killed (SIGKILL, all ranks at once) right after a checkpoint, in the middle of a window and while a
checkpoint is written, each in another phase, and goes on with another number of ranks each time.

Packs, clocks and learning rates are the same. Weights are not to the bit: sums are added in another
order at another world size, and what that changes grows from step to step. So the first 20 losses
of the first phase agree within 1e-5, all losses within LOSSES, and the held-out scores of every
language at the end of every phase within SCORES.

Some minutes: `pytest -m slow tests/promises/test_a_killed_run_ends_as_an_undisturbed_one.py -s`
prints how far apart the two runs are.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipelines.sample import write_sample
from schemas import run as runs
from schemas.digest import Json
from schemas.point import newest, points_in
from tests import ranks
from tests.promises.test_interrupt_anything import COMMAND
from tests.recorded import Got, counted, got, steps_of
from trainer.journal import Journal, Lines
from trainer.phase import Phase

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
SOURCES = ("fineweb2", "dclm", "dolmino")
BUDGETS = {
    "pretrain": 30_000,
    "extend": 20_000,
    "decay-eng": 6_000,
    "decay-cont": 6_000,
    "decay-all": 16_000,
}
SMALL = (
    "tokenizer.train.vocab_size=4096",
    "tokenizer.train.sample_megabytes=1.0",
    "heldout.max_documents=1",
    "heldout.min_stratum_documents=200",
    "heldout.min_documents=1",
    "heldout.min_targets=20",
    "model.hidden_size=64",
    "model.num_layers=4",
    "model.num_heads=2",
    "model.intermediate_size=96",
    "packing.window_packs=4",
    "optimiser.precision=fp32",
    "phases.pretrain.warmup_tokens=3_000",
    "phases.decay-all.pool_tokens=400_000",
    *(f"phases.{phase}.budget_tokens={budget}" for phase, budget in BUDGETS.items()),
)
FIRST = 20  # steps
FIRST_LOSSES, LOSSES, SCORES = 1e-5, 1e-3, 1e-3  # relative
PATIENCE_S = 1_200.0  # of a start on a machine that others use
UNEQUAL = ("loss", "grad_norm", "tokens_per_s", "flops_per_s", "mfu", "eta_s")


@pytest.fixture(scope="module")
def run_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was left alone."""
    text = CORPUS
    if not text.is_dir():
        text = tmp_path_factory.mktemp("sample")
        write_sample(text, languages=24, megabytes=4.0)
    store = tmp_path_factory.mktemp("store")
    settings = (*(f"sources.{s}.path={text / s}" for s in SOURCES), *SMALL)
    told = [word for setting in settings for word in ("--set", setting)]
    subprocess.run([*COMMAND, "data", "tiny", "--store", store, "--no-server", *told], check=True)
    (run_json,) = store.glob("runs/*/run.json")
    shutil.copytree(run_json.parent, twin_of(run_json).parent)
    assert ranks.start(str(run_json)).wait(PATIENCE_S) == [0]
    return run_json


@pytest.fixture(scope="module")
def starts(run_json: Path) -> list[Path]:
    return kill_three_times(twin_of(run_json))


def kill_three_times(run_json: Path) -> list[Path]:
    """Train in four starts; what the ranks of each got, in a folder."""
    folders = []
    for world, moment, every_s in (
        (2, has_just_saved, 0.0),
        (3, is_inside_a_window, 1e9),
        (1, is_saving, 0.0),
        (2, None, 1e9),
    ):
        folders.append(run_json.with_name(f"start-{len(folders)}"))
        folders[-1].mkdir()
        options = ("--checkpoint-every-s", str(every_s))
        running = ranks.start(str(run_json), *options, world=world, recorded=folders[-1])
        if moment is None:
            assert running.wait(PATIENCE_S) == [0] * world, running.sentences()
            break
        while not moment(run_json.parent):
            assert all(process.is_alive() for process in running.processes), running.sentences()
            time.sleep(0.005)
        for process in running.processes:
            process.kill()
        assert running.wait() == [-signal.SIGKILL] * world
    return folders


def twin_of(run_json: Path) -> Path:
    return run_json.parent.with_name(f"{run_json.parent.name}-twin") / "run.json"


def has_just_saved(run: Path) -> bool:
    """A checkpoint inside pretrain."""
    return newest(run / "checkpoints", "pretrain") is not None


def is_inside_a_window(run: Path) -> bool:
    """Of extend, some steps behind the last checkpoint."""
    last = log(run)[-1]
    saved = max(point.step for point in points_in(run / "checkpoints"))
    inside = last["phase"] == "extend" and last["kind"] == "step" and bool(last["pack"])
    return inside and int(str(last["step"])) >= saved + 3


def is_saving(run: Path) -> bool:
    """A checkpoint inside decay-all."""
    return any((run / "checkpoints").glob(".decay-all-*.tmp"))


def log(run: Path, kind: str | None = None) -> list[dict[str, Json]]:
    lines = Lines(run / "log.jsonl", write=False).read()
    return [line for line in lines if kind in (None, line["kind"])]


@pytest.mark.slow
def test_every_pack_is_delivered_once_and_in_order(run_json: Path, starts: list[Path]) -> None:
    run, store = runs.load(str(run_json)), runs.store_of(str(run_json))
    expected: list[Got] = []
    for phase in run.phases:
        packs = Phase(store.resolve(phase.current), store).packs()
        expected += [got(phase.name, pack) for pack in packs]
    steps = [steps_of(folder) for folder in starts]
    assert [len(list(folder.glob("*.jsonl"))) for folder in starts] == [2, 3, 1, 2]
    assert list(counted(steps, [phase.name for phase in run.phases])) == expected
    again = [pack for each in steps for step in each for pack in step.packs if pack is not None]
    assert set(again) == set(expected)
    assert len(again) > len(expected)  # steps between a checkpoint and a kill are done again
    print(f"\n{len(expected)} packs, {len(again)} delivered in {len(starts)} starts")


@pytest.mark.slow
def test_it_reads_as_if_nothing_had_happened(run_json: Path, starts: list[Path]) -> None:
    twin = twin_of(run_json).parent
    assert Journal(twin, write=False).read() == Journal(run_json.parent, write=False).read()
    equal = [
        [{key: line[key] for key in line if key not in UNEQUAL} for line in log(run, "step")]
        for run in (twin, run_json.parent)
    ]
    assert equal[0] == equal[1]
    assert [(line["phase"], line["event"], line["step"]) for line in log(twin, "phase")] == [
        (line["phase"], line["event"], line["step"]) for line in log(run_json.parent, "phase")
    ]


@pytest.mark.slow
def test_it_ends_within_the_tolerance(run_json: Path, starts: list[Path]) -> None:
    twin = twin_of(run_json).parent
    losses = [[line["loss"] for line in log(run, "step")] for run in (twin, run_json.parent)]
    scores = [scores_of(run) for run in (twin, run_json.parent)]
    assert scores[0].keys() == scores[1].keys()
    pairs = [(scores[0][name], scores[1][name]) for name in scores[0]]
    print(
        f"\nfirst {FIRST} losses {apart(losses[0][:FIRST], losses[1][:FIRST]):.1e} apart, "
        f"{len(losses[0])} losses {apart(*losses):.1e}, "
        f"{len(pairs)} scores {apart(*zip(*pairs, strict=True)):.1e}"
    )
    assert losses[0][:FIRST] == pytest.approx(losses[1][:FIRST], rel=FIRST_LOSSES)
    assert losses[0] == pytest.approx(losses[1], rel=LOSSES)
    assert scores[0] == pytest.approx(scores[1], rel=SCORES)


def scores_of(run: Path) -> dict[tuple[str, int, str], float]:
    """Nats by phase, step and language; bits per byte of all is that of language ""."""
    found = {}
    for line in log(run, "heldout"):
        place = str(line["phase"]), int(str(line["step"]))
        if line["macro"] is not None:
            found[*place, ""] = line["macro"]
        languages = line["languages"]
        assert isinstance(languages, dict)
        found |= {(*place, language): sums["nats"] for language, sums in languages.items()}
    return found


def apart(one: object, other: object) -> float:
    """The largest relative difference."""
    return max(abs(a - b) / abs(b) for a, b in zip(one, other, strict=True))
