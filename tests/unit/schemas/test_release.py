"""A release that cannot be made is refused with the recipe, not after the training."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from schemas.digest import Json
from schemas.recipe import Recipe

PHASE: dict[str, Json] = {
    "context": 1024,
    "mask_rate": 0.05,
    "rope_theta": 160_000,
    "languages": "fineweb2-all",
    "tau": 0.3,
    "shares": {"multilingual": 1},
    "pool_tokens": 1000,
    "budget_tokens": 1000,
    "learning_rate": 1e-3,
    "batch_packs": 1,
}
TIES: dict[str, Json] = {"method": "ties", "base": "extend", "phases": ["decay-eng", "decay-all"]}


def recipe(release: dict[str, Json], start: bool = False, **changed: dict[str, Json]) -> Recipe:
    names = ["extend", "decay-eng", "decay-all"]
    phases = {name: PHASE | changed.get(name.replace("-", "_"), {}) for name in names}
    content: dict[str, Json] = {
        "name": "x",
        "tokenizer": {"path": "t"},
        "sources": {"fineweb2": {"path": "p", "format": "fineweb2"}},
        "packing": {"pack_tokens": 2048, "max_pieces": 16, "window_packs": 4},
        "phases": phases,
        "release": release,
    }
    return Recipe.model_validate(content | ({"start": {"model": "m"}} if start else {}))


def test_branches_are_merged_over_the_phase_or_the_model_they_came_from() -> None:
    assert recipe(TIES).released == "release"
    assert recipe(TIES | {"base": "start"}, start=True).release is not None


@pytest.mark.parametrize(
    ("release", "changed", "told"),
    [
        (TIES | {"base": "start"}, {}, "release names 'start', no phase"),
        (TIES | {"phases": ["extend", "decay"]}, {}, "release names 'decay', no phase"),
        (TIES, {"decay_all": {"rope_theta": 10_000}}, "phases of rope_theta 10000, 160000: "),
        ({"method": "ema", "phases": ["extend"]}, {}, "set phases.extend.snapshots to 2 or more"),
        ({"method": "average", "phases": ["extend"]}, {}, "average merges two phases or more"),
        (TIES | {"phases": ["decay-all", "decay-all"]}, {}, "phases names one twice; to let it"),
        (TIES | {"weights": [1.0, 0.0]}, {}, "weights must be positive"),
        (TIES | {"weights": [1.0, math.inf]}, {}, "weights must be positive"),
        (TIES | {"weights": [1.0]}, {}, "give one weight for each phase"),
        (TIES | {"lam": math.inf}, {}, "lam"),
        (
            {"method": "ema", "phases": ["extend"], "weights": [1.0]},
            {"extend": {"snapshots": 2}},
            "leave weights out",
        ),
    ],
)
def test_what_cannot_be_merged_is_told(
    release: dict[str, Json], changed: dict[str, dict[str, Json]], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        recipe(release, **changed)
