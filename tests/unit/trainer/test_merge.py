"""Merging does what the papers say, keeps what agrees bit for bit, and refuses what does not fit.

Compared with a written-out toy case and with peft's TIES.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.errors import UserError
from trainer.convert import from_transformers
from trainer.convert.average import average, exponential_weights
from trainer.convert.merge import merge
from trainer.convert.ties import threshold, ties
from trainer.convert.to_transformers import config_json
from trainer.initialise import build
from trainer.model import ModelConfig, Theta

CONFIG = ModelConfig(64, 16, 4, 2, 24)


def write(directory: Path, weights: dict[str, Tensor], **config: object) -> Path:
    directory.mkdir()
    content = config_json(CONFIG, Theta(1e4, 1e4), torch.float32) | config
    (directory / "config.json").write_text(json.dumps(content))
    (directory / "tokenizer.json").write_text('{"model": {}}')
    (directory / "README.md").write_text("another model's card")
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


def weights_of(seed: int) -> dict[str, Tensor]:
    state = build(CONFIG, seed).state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if name != "decoder.weight"}


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Three models, then the base that they came from."""
    return [write(tmp_path / f"m{seed}", weights_of(seed)) for seed in range(4)]


def flat(directory: Path) -> Tensor:
    weights = load_file(directory / "model.safetensors")
    return torch.cat([weights[name].flatten() for name in sorted(weights)])


def test_ties_by_hand() -> None:
    base = torch.tensor([10.0, 10.0, 10.0, 10.0, 10.0])
    # Of five values the three largest magnitudes stay: the bracketed ones go.
    learned = [
        torch.tensor([0.1, 4.0, 2.0, -3.0, 0.2]),  # [0.1], [0.2]
        torch.tensor([5.0, -6.0, 4.0, 0.5, -1.0]),  # [0.5], [-1.0]
        torch.tensor([-2.0, 1.0, 0.5, -1.0, 0.25]),  # [0.5], [0.25]
    ]
    at = [threshold(lambda d=d: [d], 5, 0.6) for d in learned]
    assert at == [2.0, 4.0, 1.0]
    # mass   5 - 2 > 0   4 - 6 + 1 < 0   2 + 4     -3 - 1       nothing
    # mean   5           -6              (2+4)/2   (-3-1)/2     0
    merged = ties(base, learned, at, [1.0, 1.0, 1.0], lam=2.0)
    assert merged.tolist() == [20.0, -2.0, 16.0, 6.0, 10.0]
    # The first model counts three times: 3 x 4 outweighs -6, and the mean of 4 and 1 is weighted.
    merged = ties(base, learned, at, [3.0, 1.0, 1.0], lam=1.0)
    assert merged[1].item() == pytest.approx(10 + (3 * 4 + 1) / 4)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_threshold_is_the_kth_largest_magnitude(size: int) -> None:
    values = torch.randn(size, generator=torch.Generator().manual_seed(size))
    values[: size // 3] *= 1e-20
    ordered = values.abs().sort(descending=True).values
    for density in (0.1, 0.29, 0.5, 1.0):
        k = int(density * size)
        found = threshold(lambda: values.split(3), size, density)
        assert found == (ordered[k - 1].item() if k else float("inf"))
    assert threshold(lambda: [torch.zeros(9)], 9, 0.5) == 0.0


@pytest.mark.parametrize("scope", ["tensor", "model"])
@pytest.mark.parametrize("density", [0.2, 0.7])
def test_ties_is_what_peft_computes(
    tmp_path: Path, models: list[Path], scope: str, density: float
) -> None:
    reason = "peft is not installed: pip install -e '.[dev]' compares TIES with it"
    peft = pytest.importorskip("peft.utils.merge_utils", reason=reason)
    *branches, base = models
    merge(branches, tmp_path / "out", "ties", density=density, base=base, trim_scope=scope, lam=0.7)
    start = load_file(base / "model.safetensors")
    learned = [load_file(path / "model.safetensors") for path in branches]
    ones = torch.ones(3)
    if scope == "model":
        deltas = [flat(path) - flat(base) for path in branches]
        expected = flat(base) + 0.7 * peft.ties(deltas, ones, density)
    else:
        expected = torch.cat(
            [
                (x + 0.7 * peft.ties([m[name] - x for m in learned], ones, density)).flatten()
                for name, x in sorted(start.items())
            ]
        )
    torch.testing.assert_close(flat(tmp_path / "out"), expected, rtol=0, atol=1e-7)


def test_averages_are_weighted(tmp_path: Path, models: list[Path]) -> None:
    merge(models[:3], tmp_path / "out", "average", weights=[1.0, 2.0, 5.0])
    expected = sum(w * flat(m).double() for w, m in zip([1, 2, 5], models, strict=False)) / 8
    torch.testing.assert_close(flat(tmp_path / "out"), expected.float(), rtol=0, atol=0)


def test_the_last_model_counts_most_in_an_exponential_average(
    tmp_path: Path, models: list[Path]
) -> None:
    assert exponential_weights(3, 0.5) == [0.25, 0.5, 1.0]
    merge(models[:3], tmp_path / "out", "ema", decay=0.5)
    mean = sum(w * flat(m).double() for w, m in zip([1, 2, 4], models, strict=False)) / 7
    torch.testing.assert_close(flat(tmp_path / "out"), mean.float(), rtol=2e-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", ["ties", "average", "ema"])
def test_a_model_merged_with_itself_is_itself(
    tmp_path: Path, models: list[Path], method: str, dtype: torch.dtype
) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in weights_of(5).items()}
    kind = str(dtype).removeprefix("torch.")
    model = write(tmp_path / "model", weights, dtype=kind)
    base = None
    if method == "ties":
        there = {name: tensor.to(dtype) for name, tensor in weights_of(6).items()}
        base = write(tmp_path / "base", there, dtype=kind)
    given = None if method == "ema" else [0.3, 0.3, 0.4]
    merge([model] * 3, tmp_path / "out", method, weights=given, base=base, lam=0.5, decay=0.7)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes(), name
    # These weights and this precision are where a plain mean would be off by a bit.
    three = [flat(model)] * 3
    if given and dtype == torch.float32:
        plain = sum(w * x for w, x in zip(given, three, strict=True))
        assert not torch.equal(plain, three[0])


def test_the_result_loads_and_leaves_nothing_else(tmp_path: Path, models: list[Path]) -> None:
    out = tmp_path / "out"
    write(out, weights_of(9))  # replaced
    merge(models[:2], out, "average")
    model, theta = from_transformers.load(out)
    assert (model.config, theta) == (CONFIG, Theta(1e4, 1e4))
    names = {"config.json", "tokenizer.json", "model.safetensors", "digests.json", "README.md"}
    assert {p.name for p in out.iterdir()} == names
    assert {p.name for p in tmp_path.iterdir()} == {"m0", "m1", "m2", "m3", "out"}
    assert average([torch.tensor([1.0]), torch.tensor([4.0])], [1, 2]).tolist() == [3.0]


def test_different_models_are_refused_by_name(tmp_path: Path, models: list[Path]) -> None:
    out = tmp_path / "out"
    other = write(tmp_path / "other", weights_of(0), local_attention=64)
    with pytest.raises(UserError, match="local_attention = 128 and 64"):
        merge([models[0], other], out, "average")
    harmless = write(tmp_path / "harmless", weights_of(0), _name_or_path="elsewhere")
    merge([models[0], harmless], out, "average")

    lacking = weights_of(0)
    del lacking["head.dense.weight"]
    lacking = write(tmp_path / "lacking", lacking)
    with pytest.raises(UserError, match=r"head\.dense\.weight is F32 \[16, 16\] .* absent"):
        merge([models[0], lacking], out, "average")

    (models[1] / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"different tokenizer\.json"):
        merge(models[:2], out, "average")

    broken = weights_of(0)
    broken["head.dense.weight"][3, 3] = torch.nan
    with pytest.raises(UserError, match=r"broken: head\.dense\.weight has values .* not finite"):
        merge([models[0], write(tmp_path / "broken", broken)], tmp_path / "none", "average")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"method": "ties"}, "needs a base"),
        ({"method": "average", "base": Path("x")}, "no base"),
        ({"method": "average", "weights": [1.0]}, "1 weights for 2 models"),
        ({"method": "average", "weights": [1.0, -1.0]}, "positive"),
        ({"method": "ema", "weights": [1.0, 1.0]}, "decay"),
        ({"method": "ema", "decay": 0.0}, "decay 0.0"),
        ({"method": "ties", "base": Path("x"), "density": 0.0}, "density 0.0"),
    ],
)
def test_knobs_without_a_meaning_are_refused(
    tmp_path: Path, models: list[Path], knobs: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        merge(models[:2], tmp_path / "out", **knobs)


def test_an_input_is_never_overwritten(models: list[Path]) -> None:
    with pytest.raises(UserError, match="another output"):
        merge(models[:2], models[0], "average")
    with pytest.raises(UserError, match="at least two"):
        merge(models[:1], models[3], "average")
