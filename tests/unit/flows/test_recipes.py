"""The packaged recipes say what mmBERT publishes, and open with what they cost and leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.job import RECIPES, Job
from schemas.recipe import Phase, Recipe
from schemas.recipe_file import packaged_names
from trainer.flops import num_parameters

NAMES = packaged_names(RECIPES)
PHASES = ("pretrain", "extend", "decay-eng", "decay-cont", "decay-all")
PACK = 49_152


def recipe(name: str) -> Recipe:
    return Job(recipe=name).load()


@pytest.mark.parametrize("name", NAMES)
def test_a_packaged_recipe_loads_and_opens_with_what_it_costs(name: str) -> None:
    loaded = recipe(name)
    assert loaded.name == name
    assert loaded.title
    assert tuple(loaded.phases) == PHASES
    header = Path(RECIPES / f"{name}.toml").read_text().split("\n\n")[0]
    for word in ("Reproduces", "Costs", "Leaves", "Run ", f"mmbert run {name}"):
        assert word in header, word


@pytest.mark.parametrize(
    ("phase", "pool_b", "budget_b", "languages", "tau", "max_epochs", "mask", "context", "theta"),
    [
        ("pretrain", 1989.0, 2300, "pretrain-60", 0.7, 1, 0.30, 1024, 10_000),
        ("extend", 600.8, 600, "extend-110", 0.5, 2, 0.15, 8192, 160_000),
        ("decay-eng", 104.4, 100, "extend-110", 0.3, 1, 0.05, 8192, 160_000),
        ("decay-cont", 103.3, 100, "extend-110", 0.3, 1, 0.05, 8192, 160_000),
        ("decay-all", 114.2, 100, "decay-1833", 0.3, 1, 0.05, 8192, 160_000),
    ],
)
@pytest.mark.parametrize("name", ["base", "small"])
def test_both_sizes_have_the_published_phases(
    name: str,
    phase: str,
    pool_b: float,
    budget_b: int,
    languages: str,
    tau: float,
    max_epochs: float,
    mask: float,
    context: int,
    theta: float,
) -> None:
    found = recipe(name).phases[phase]
    assert round(found.pool_tokens / 1e9, 1) == pool_b
    assert found.budget_tokens == budget_b * 1e9
    assert sum(found.shares.values()) == pytest.approx(found.pool_tokens / 1e9, rel=1e-3)
    assert (found.languages, found.tau, found.max_epochs) == (languages, tau, max_epochs)
    assert (found.mask_rate, found.context, found.rope_theta) == (mask, context, theta)
    assert found.batch_packs * PACK == 4608 * 1024
    assert found.after == (
        None if phase == "pretrain" else "pretrain" if phase == "extend" else "extend"
    )


def test_the_shares_are_those_of_the_published_tables() -> None:
    phases = recipe("base").phases
    pretrain = {
        "multilingual": 1196.6,
        "dclm": 600.0,
        "starcoder": 100.6,
        "arxiv": 27.8,
        "stackexchange": 18.6,
        "dolmino/flan": 15.3,
        "dolmino/math": 11.2,
        "dolmino/pes2o": 8.4,
        "megawika": 4.7,
        "books": 4.3,
        "stackexchange-dolmino": 1.4,
    }
    assert phases["pretrain"].shares == pretrain
    extend = {
        "multilingual": 506.7,
        "dolmino/dclm": 40.0,
        "starcoder": 17.2,
        "dclm": 10.0,
        "arxiv": 5.4,
        "dolmino/math": 4.3,
        "books": 3.9,
        "dolmino/pes2o": 3.2,
        "dolmino/flan": 3.1,
        "stackexchange": 3.0,
        "stackexchange-dolmino": 2.8,
        "megawika": 1.2,
    }
    assert phases["extend"].shares == extend


def rates(phase: Phase) -> tuple[float, str, float, float]:
    return phase.learning_rate, phase.schedule, phase.floor, phase.weight_decay


def test_base_learns_as_published() -> None:
    base = recipe("base")
    assert num_parameters(base.model, 256_000) == 307_786_240
    pretrain = base.phases["pretrain"]
    assert (pretrain.warmup_tokens, pretrain.batch_warmup_tokens) == (3e9, 60e9)
    assert pretrain.min_batch_packs == 8
    for name in ("pretrain", "extend"):
        assert rates(base.phases[name]) == (8e-4, "constant", 0, 8e-5)
    for name in PHASES[2:]:
        assert rates(base.phases[name]) == (8e-4, "one-minus-sqrt", 0.02, 8e-5)
    assert base.start is None
    assert base.release is not None
    assert (base.release.method, base.release.base) == ("ties", "extend")
    assert base.release.phases == PHASES[2:]


def test_small_learns_as_published_from_a_base_model() -> None:
    small = recipe("small")
    assert num_parameters(small.model, 256_000) == 140_897_536
    pretrain = small.phases["pretrain"]
    assert (pretrain.warmup_tokens, pretrain.batch_warmup_tokens) == (4e9, 100e9)
    assert rates(pretrain) == (8e-4, "constant", 0, 8e-5)
    assert rates(small.phases["extend"]) == (4e-4, "constant", 0, 4e-5)
    for name in PHASES[2:]:
        assert rates(small.phases[name]) == (4e-4, "linear", 0.04, 4e-5)
    assert small.start is not None
    assert small.release is not None
    assert (small.release.method, small.release.phases) == ("ema", ("decay-all",))
    assert small.release.base is None
    assert small.phases["decay-all"].snapshots == 10


def test_both_decays_end_at_the_same_rate() -> None:
    ends = {
        phase.learning_rate * phase.floor
        for name in ("base", "small")
        for phase in list(recipe(name).phases.values())[2:]
    }
    assert [round(end, 9) for end in ends] == [1.6e-5]


def test_base_pins_the_release_that_mmbert_read_and_v2_1_changes_nothing_else() -> None:
    base, later = recipe("base"), recipe("base-v2.1")
    assert "fineweb-2@v2.0.0/" in base.sources["fineweb2"].path
    assert "fineweb-2@v2.1.0/" in later.sources["fineweb2"].path
    assert later.phases["decay-all"].languages == "fineweb2-all"
    sources = later.sources | {"fineweb2": base.sources["fineweb2"]}
    decay = later.phases["decay-all"].model_copy(update={"languages": "decay-1833"})
    same = {
        "name": base.name,
        "title": base.title,
        "sources": sources,
        "phases": later.phases | {"decay-all": decay},
    }
    assert later.model_copy(update=same) == base


def test_gated_sources_say_so_and_what_is_on_no_hub_can_be_planned() -> None:
    sources = recipe("base").sources
    assert [name for name, source in sources.items() if source.gated] == ["starcoder"]
    for name, source in sources.items():
        if "://" not in source.path:
            assert source.published_tokens, name
