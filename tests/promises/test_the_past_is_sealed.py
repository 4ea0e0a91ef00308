"""I4: what a run was trained on stays what it was; what lies ahead of its checkpoint may change.

A segment begins at the first window that no checkpoint has begun. Windows before it are planned as
they were, rows go on where they are, and a change behind the checkpoint is refused.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows import going_on
from pipelines.collect_garbage import find_garbage
from pipelines.holdings import holdings
from pipelines.remix import decide_remix
from pipelines.segments import Standing
from schemas import manifest as manifests
from schemas import run as runs
from schemas.errors import UserError
from schemas.point import Point
from schemas.recipe import Start
from schemas.run import RunStart
from tests.begun import Begun
from tests.runs import alone
from trainer.loop import advance
from trainer.phase import Phase


def test_a_change_behind_the_checkpoint_is_refused(begun: Begun) -> None:
    flatter = begun.segment(begun.with_phase(tau=0.0), "flatter")
    begun.train(steps=5)
    assert begun.window > flatter.from_window
    begun.take_on(flatter)
    window = f"plans windows from {flatter.from_window} on in another way"
    with pytest.raises(UserError, match=f"stands at window {begun.window} .*{window}"):
        begun.train()


def test_a_segment_that_was_trained_with_cannot_be_taken_back(begun: Begun) -> None:
    flatter = begun.segment(begun.with_phase(tau=0.0), "flatter")
    begun.take_on(flatter)
    assert "stopped" in begun.train(steps=6)
    run = runs.load(str(begun.run_json))
    assert begun.window > flatter.from_window
    runs.publish(begun.store, runs.with_segments(begun.store, run, {"only": None}))
    with pytest.raises(UserError, match=f"go on with that one .*only={flatter.id}"):
        begun.train()
    runs.publish(begun.store, runs.with_segments(begun.store, run, {}))
    assert runs.load(str(begun.run_json)).phases[0].segment is None
    begun.take_on(flatter)
    assert "stopped at only-" in begun.train(steps=2)


def test_a_run_that_is_described_again_keeps_its_segment(begun: Begun) -> None:
    begun.take_on(flatter := begun.segment(begun.with_phase(tau=0.0), "flatter"))
    described = runs.load(str(begun.run_json))
    url = begun.store.relative(manifests.url_of(begun.store, flatter))
    assert described.phases[0].current == url
    assert described.sealed().id == described.id
    kept = runs.with_segments(begun.store, described.model_copy(), {})
    assert kept.phases[0].segment == url


def test_a_checkpoint_names_a_segment_only_once_it_has_planned_a_window(begun: Begun) -> None:
    flatter = begun.segment(begun.with_phase(tau=0.0), "flatter")
    data = Phase(manifests.url_of(begun.store, flatter))
    point = Point.before("", "only", 0)
    named = []
    for batch in data.batches():
        point = advance(point, batch, data)
        named.append((point.next_window > flatter.from_window, point.manifest))
    assert set(named) == {(False, begun.first().id), (True, flatter.id)}


def test_what_a_checkpoint_was_trained_with_is_no_garbage(begun: Begun) -> None:
    def garbage() -> set[str]:
        return {found.url for found in find_garbage(holdings(begun.store), keep=0, now=2e12)}

    flatter = begun.segment(begun.with_phase(tau=0.0), "flatter")
    folder = manifests.url_of(begun.store, flatter).rsplit("/", 1)[0]
    begun.segment(begun.with_phase(tau=0.1), "flatter")
    assert folder in garbage()
    (file,) = begun.run_json.parent.glob("checkpoints/*/point.json")
    point = Point.model_validate_json(file.read_bytes())
    file.write_text(point.model_copy(update={"manifest": flatter.id}).model_dump_json())
    assert folder not in garbage()


def test_what_a_segment_cannot_change_is_refused(begun: Begun) -> None:
    for changes, told in (
        ({"context": 256}, "context is 128"),
        ({"mask_rate": 0.2}, "mask_rate is 0.3"),
        ({"budget_tokens": 30_000}, "budget_tokens is 24000"),
    ):
        with pytest.raises(UserError, match=rf"phases\.only: {told} in manifest .*take it back"):
            begun.segment(begun.with_phase(**changes), "other")
    first = begun.first()
    old = first.model_copy(update={"order_version": first.order_version - 1})
    standing = Standing(old, begun.window, [0] * len(old.strata))
    with pytest.raises(UserError, match=f"order_version is {old.order_version} in manifest"):
        decide_remix(begun.recipe, "only", begun.store, "", standing)
    other = begun.with_phase(learning_rate=1.0)
    url = manifests.url_of(begun.store, begun.segment(begun.with_phase(tau=0.0), "flatter"))
    with pytest.raises(UserError, match=r"phases\.only\.learning_rate is not what run test-"):
        going_on.describe(other, begun.store, {"only": url})
    with alone(begun.run_json), pytest.raises(UserError, match="a trainer is at work in"):
        going_on.standing(begun.store, begun.recipe, "only", str(begun.run_json))


def test_a_run_that_started_from_another_model_does_not_go_on(begun: Begun, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    start = Start(model=str(tmp_path))
    run = runs.load(str(begun.run_json))
    digest = runs.digest_of_weights(start.model)
    started = run.model_copy(update={"start": RunStart(settings=start, digest=digest)}).sealed()
    other = runs.publish(begun.store, started)
    flatter = begun.segment(begun.with_phase(tau=0.0), "flatter")
    begun.take_on(flatter)
    assert runs.load(other).phases[0].segment is None
    url = manifests.url_of(begun.store, flatter)
    recipe = begun.recipe.model_copy(update={"start": start})
    assert going_on.describe(recipe, begun.store, {"only": url}) == other
    (tmp_path / "model.safetensors").write_bytes(b"others")
    with pytest.raises(UserError, match="start is not what run test-"):
        going_on.describe(recipe, begun.store, {"only": url})


def test_runs_that_cannot_be_told_apart_are_named(begun: Begun) -> None:
    run = runs.load(str(begun.run_json))
    other = run.model_copy(update={"heldout": "heldout/other.json"}).sealed()
    runs.publish(begun.store, other)
    url = manifests.url_of(begun.store, begun.segment(begun.with_phase(tau=0.0), "flatter"))
    names = ", ".join(sorted((f"test-{run.id}", f"test-{other.id}")))
    with pytest.raises(UserError, match=f"goes on with any of {names}; .* move the rest out"):
        going_on.describe(begun.recipe, begun.store, {"only": url})


def test_a_run_of_another_version_is_in_no_ones_way(begun: Begun) -> None:
    flatter = begun.segment(begun.with_phase(tau=0.0), "flatter")
    for name in ("other-0", "test-0"):
        folder = begun.run_json.parents[1] / name
        folder.mkdir()
        (folder / "run.json").write_text('{"format_version": 2}')
    begun.take_on(flatter)
    with pytest.raises(UserError, match=r"test-0/run\.json is no run description of this version"):
        going_on.standing(begun.store, begun.recipe, "only", "test-0")


def test_a_run_outside_the_store_does_not_go_on_with_a_segment_of_it(
    begun: Begun, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    shutil.copytree(begun.run_json.parent, aside)
    with pytest.raises(UserError, match=r"--continue .*aside: .*aside lies outside .*/runs, where"):
        going_on.standing(begun.store, begun.recipe, "only", str(aside))
