"""The check on a GPU, where there is none: it runs on what is there and says what is not."""

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.benchmarks.gpu import __main__ as check
from tests.benchmarks.gpu import inputs, kernels, machine, parity, step
from tests.benchmarks.gpu.cells import Absent, Bench
from tests.benchmarks.gpu.work import works
from trainer.attention import _banded, _by_document, attention

ROOT = Path(__file__).parents[3]
PHASE = inputs.Phase("256, 15 %", 256, 0.15, 10_000.0)

# What a machine may lack: all that this project installs but torch and numpy.
ONLY_TORCH = """
import importlib.metadata, runpy, sys
lacking = set()
for name, of in importlib.metadata.packages_distributions().items():
    wanted = {"apache-beam", "datatrove", "fastapi", "ftfy", "prefect", "pyarrow", "pydantic",
              "regex", "rich", "safetensors", "sentencepiece", "tokenizers", "torch-optimi",
              "transformers", "typer", "xxhash", "zstandard", "triton", "flash-attn"}
    if wanted & {each.lower() for each in of}:
        lacking.add(name)
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in lacking:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Lacking())
assert {"pydantic", "optimi", "transformers"} <= lacking
sys.argv = ["gpu", *sys.argv[1:]]
runpy.run_module("tests.benchmarks.gpu", run_name="__main__")
"""


def bench(seconds: float = 600.0) -> Bench:
    return Bench(torch.device("cpu"), True, seconds)


def test_torch_and_numpy_are_enough(tmp_path):
    line = tmp_path / "record.jsonl"
    asked = ["--parts", "parity", "parts", "--record", str(line)]
    command = [sys.executable, "-c", ONLY_TORCH, *asked]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "| plain, local, bfloat16 |" in ended.stdout
    assert "absent: no CUDA device" in ended.stdout
    assert "Time by part, tiny, 64, 30 %" in json.loads(line.read_text())["figures"]


def test_a_step_is_measured_beside_transformers(tmp_path, capsys):
    line = tmp_path / "record.jsonl"
    line.write_text("{}\n")
    assert check.main(["--parts", "step", "--record", str(line)]) == 0
    before, told = map(json.loads, line.read_text().splitlines())
    assert before == {}
    rows = {row.pop(""): row for row in told["figures"]["Training step, tiny, 64, 30 %"]}
    assert rows["flash-attn"] == {"tokens/s": "absent: no CUDA device"}
    measured = ["plain", "plain, compiled", "transformers, by length", "transformers, as they come"]
    for name in measured:
        assert rows[name]["tokens/s"] > 0
        assert rows[name]["first loss"] == pytest.approx(rows["plain"]["first loss"], rel=1e-3)
    assert "| plain, compiled | " in capsys.readouterr().out


def test_a_wrong_window_is_told(monkeypatch):
    def wider(q, k, v, cu_seqlens, longest, half_window):
        return attention(q, k, v, cu_seqlens, longest, half_window and half_window + 1)

    monkeypatch.setattr(parity, "attention", wider)
    asked = bench()
    rows = {row[0]: row for row in parity.run(asked).rows}
    assert rows["plain, local, bfloat16"][-1] == parity.WRONG
    assert rows["plain, global, bfloat16"][-1] == "right"
    assert min(rows["plain, local, float32"][1:5]) > max(parity.BOUNDS.values())
    assert len(asked.failures) == 3


def test_a_cell_that_comes_to_grief_says_so_and_the_next_goes_on():
    def fail(error):
        raise error

    asked = bench()
    assert asked.cell("a", lambda: 1.0) == 1.0
    assert asked.cell("b", lambda: fail(Absent("no such thing\nmore"))) == "absent: no such thing"
    assert asked.cell("c", lambda: fail(torch.OutOfMemoryError())) == "out of memory"
    assert not asked.failures
    assert asked.cell("d", lambda: fail(ValueError("odd"))) == "failed: ValueError: odd"
    assert asked.failures == ["d: ValueError: odd"]
    assert bench(seconds=5).cell("e", lambda: 1.0, takes_s=10) == "absent: no time left"


def test_packs_and_padded_batches_hold_the_same_text():
    packs = inputs.draw(PHASE, 2_048, 1_000, 2, torch.device("cpu"))
    for pack in packs:
        ids_T, positions_T, bounds, longest, at_M, targets_M = pack.inputs
        assert ids_T.shape == positions_T.shape == (2_048,)
        assert pack.num_tokens > 0.95 * 2_048
        assert bounds[-1] == 2_048
        assert bounds.diff().max() <= longest
        rows = ids_T[: pack.num_tokens].split(pack.lengths.tolist())
        assert all(np.array_equal(a, b.ids) for a, b in zip(rows, pack.rows, strict=True))
        assert at_M.max() < pack.num_tokens
        for by_length in (True, False):
            split = inputs.batches(pack, 512, by_length)
            assert sorted(id(row) for batch in split for row in batch) == sorted(map(id, pack.rows))
            padded = [inputs.padded(batch, torch.device("cpu")) for batch in split]
            assert all(batch.ids_BL.numel() <= 512 for batch in padded)
            assert sum(int(batch.seen_BL.sum()) for batch in padded) == pack.num_tokens
            labels = torch.cat([b.labels_BL[b.labels_BL != inputs.IGNORED] for b in padded])
            assert torch.equal(labels.sort().values, targets_M.sort().values)
            assert len(labels) == sum(batch.num_targets for batch in padded)


class Pretended(Bench):
    """A device in everything but where it computes."""

    cuda = True


class Event:
    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        pass

    def elapsed_time(self, other):
        return 2.0


def fused(q, k, v, cu_seqlens, longest, half_window):
    if half_window is None:
        return _by_document(q, k, v, cu_seqlens)
    return _banded(q, k, v, cu_seqlens, half_window)


def test_what_runs_on_a_device_alone_runs(monkeypatch, tmp_path):
    """Kernels, events and memory of CUDA, each with a stand-in: no branch is left untried."""
    found = types.SimpleNamespace(
        name="none", major=9, minor=0, total_memory=8e10, multi_processor_count=132
    )
    for name, stand_in in {
        "Event": Event,
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "max_memory_allocated": lambda: 3e9,
        "reset_peak_memory_stats": lambda: None,
        "get_device_properties": lambda device: found,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(
        machine, "_told", lambda command: "580, 1980 MHz, 1980 MHz, 2619 MHz, 700 W"
    )
    monkeypatch.setattr(check, "Bench", Pretended)
    runs = {"flash-attn": lambda windowed: fused, "torch": lambda windowed: None}
    monkeypatch.setattr(kernels, "KERNELS", runs)
    monkeypatch.setattr(kernels, "refusal", lambda run, dtype, windowed: None)

    line = tmp_path / "record.jsonl"
    assert check.main(["--parts", "parity", "parts", "--record", str(line)]) == 0
    figures = json.loads(line.read_text())["figures"]
    here = {row[""]: row["here"] for row in figures["Machine"]}
    assert here["clocks.sm"] == "1980 MHz"
    errors = {row["kernel"]: row for row in figures["Attention, error relative to float64"]}
    assert errors["flash-attn, local, bfloat16"]["verdict"] == "right"
    assert errors["torch, local, bfloat16"]["output"] == "absent: not installed, or without windows"

    asked = Pretended(torch.device("cpu"), True, 600.0)
    assert step.packed(asked, works(asked)[0], "flash-attn")[:2] == (2e-3, 3.0)
