"""Exposure is what the loader delivered, without having counted it."""

import numpy as np
import pytest

from schemas import run as runs
from tests.runs import make_run, phase_settings
from trainer.checkpoint import Point
from trainer.phase import Phase, State
from trainer.report import exposure


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A run whose two branches start from one phase, and its store."""
    first = phase_settings(context=128)
    branch = phase_settings(context=128, after="pretrain", mask_rate=0.15)
    url = make_run(
        tmp_path_factory.mktemp("store"), {"pretrain": first, "left": branch, "right": branch}
    )
    return runs.load(url), runs.store_of(url)


def place(run, phase, window, pack=0, clock=0.0):
    return Point(
        run=run.id, phase=phase, step=1, window=window, pack=pack, tokens=0, clock_tokens=clock,
        end=False,
    )  # fmt: skip


def test_rows_before_a_window_are_those_that_the_loader_delivered(described):
    run, store = described
    data = Phase(store.resolve(run.phases[0].manifest))
    delivered = np.zeros(len(data.manifest.strata), np.int64)
    for window in range(data.windows):
        assert exposure.rows_delivered(data.manifest, window) == delivered.tolist()
        np.add.at(delivered, data.plan(window).stratum, 1)
    assert exposure.rows_delivered(data.manifest, data.windows) == delivered.tolist()


def test_inside_a_window_rows_go_with_its_packs(described):
    run, store = described
    data = Phase(store.resolve(run.phases[0].manifest))
    packs = data.plan(1).num_packs
    clock = data.clock(State(1, packs // 2))
    line = exposure.line(
        run, exposure.manifests_of(run, store), place(run, "pretrain", 1, packs // 2, clock)
    )
    wanted = exposure.of_phase(data.manifest, 1, (packs // 2) / packs)
    assert line["clock"] == round(clock)
    assert {code: found["tokens"] for code, found in line["languages"].items()} == {
        code: round(part.tokens) for code, part in wanted.items()
    }


def test_a_finished_phase_has_delivered_what_its_manifest_says(described):
    run, store = described
    manifest = exposure.manifests_of(run, store)("pretrain")
    found = exposure.of_phase(manifest, manifest.windows)
    assert found.keys() == {share.language for share in manifest.languages}
    for share in manifest.languages:
        assert found[share.language].tokens == pytest.approx(share.tokens, abs=1)
        assert found[share.language].epochs == pytest.approx(share.epochs, rel=1e-2)


def test_a_branch_adds_up_its_ancestors_and_not_its_sisters(described):
    run, store = described
    manifest_of = exposure.manifests_of(run, store)
    whole = manifest_of("pretrain")
    assert exposure.ancestors(run, "right") == ["pretrain"]
    start = exposure.line(run, manifest_of, place(run, "right", 0))
    assert {code: found["tokens"] for code, found in start["languages"].items()} == {
        code: round(part.tokens) for code, part in exposure.of_phase(whole, whole.windows).items()
    }
    assert exposure.line(run, manifest_of, place(run, "pretrain", 0))["languages"] == {}


def test_models_outside_the_phases_have_no_line(described):
    run, store = described
    assert exposure.line(run, exposure.manifests_of(run, store), place(run, "release", 0)) is None
