"""I4: what a run was trained on stays what it was; what lies ahead of its checkpoint may change.

A segment begins at the first window that no checkpoint has begun. Windows before it are planned as
they were, rows go on where they are, and a change behind the checkpoint is refused.
"""

from __future__ import annotations

import json
import shutil
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from flows import going_on
from pipelines.collect_garbage import find_garbage
from pipelines.describe import make_heldout, make_run
from pipelines.holdings import holdings
from pipelines.manifests import make_manifests, publish_manifest
from pipelines.remix import decide_remix
from pipelines.segments import Standing
from pipelines.verify import verify_store
from schemas import exclusions
from schemas import manifest as manifests
from schemas import run as runs
from schemas.errors import UserError
from schemas.manifest import Manifest, Packing
from schemas.point import Point, newest
from schemas.recipe import Exclusions, HeldOut, Optimiser, Recipe, Start
from schemas.run import RunStart
from schemas.segments import line_of
from schemas.store import Store
from tests import corpora
from tests.building import build_store
from tests.runs import MODEL, alone
from trainer.loop import advance, train
from trainer.phase import Phase


class Begun(NamedTuple):
    """A run that has been trained up to somewhere in the middle of its phase."""

    recipe: Recipe
    store: Store
    run_json: Path

    @property
    def window(self) -> int:
        point = newest(self.run_json.parent / "checkpoints", "only")
        assert point
        return point.next_window

    def first(self) -> Manifest:
        return manifests.load(self.store.resolve(runs.load(str(self.run_json)).phases[0].manifest))

    def with_phase(self, **changes: object) -> Recipe:
        phase = self.recipe.phases["only"].model_copy(update=changes)
        return self.recipe.model_copy(update={"phases": {"only": phase}})

    def segment(self, recipe: Recipe, name: str) -> Manifest:
        """Mixed by `recipe` from where the run stands, and named."""
        standing = going_on.standing(self.store, recipe, "only", str(self.run_json))
        decided = decide_remix(recipe, "only", self.store, "mmbert data", standing)
        publish_manifest(self.store, decided, name)
        return decided.manifest

    def take_on(self, manifest: Manifest) -> None:
        """What `mmbert train --manifest only=NAME` does before it trains."""
        url = manifests.url_of(self.store, manifest)
        assert going_on.names_segment({"only": url})
        assert going_on.describe(self.recipe, self.store, {"only": url}) == str(self.run_json)

    def train(self, steps: int = 10**9) -> str:
        """On to the end, or until a signal at a step from here."""
        with alone(self.run_json) as session:
            done, tensor = count(1), session.wishes.tensor

            def told() -> object:
                session.wishes._stop = next(done) >= steps
                return tensor()

            session.wishes.tensor = told
            return train(session, session.run.phases)

    def digests(self) -> list[str]:
        """Of the plans of all windows, as the journal has them."""
        lines = self.run_json.with_name("journal.jsonl").read_text().splitlines()
        return [json.loads(line)["plan_digest"] for line in lines]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    folder = tmp_path_factory.mktemp("sealed")
    root = corpora.write_corpus(folder / "raw", {"fao_Latn": 60, "isl_Latn": 120, "nah_Latn": 40})
    settings = {"languages": ("fao", "isl"), "pool_tokens": 10_000, "budget_tokens": 24_000}
    recipe = corpora.recipe(root, **settings).model_copy(
        update={
            "model": MODEL,
            "optimiser": Optimiser(precision="fp32"),
            "heldout": HeldOut(max_documents=3, min_documents=1, min_targets=1),
            "packing": Packing(pack_tokens=512, max_pieces=32, window_packs=4),
        }
    )
    built = build_store(recipe, folder / "store")
    made = make_manifests(recipe, built.store, built.seal, built.strata)
    _, heldout = make_heldout(recipe, built.store, built.seal, built.strata)
    urls = {name: url for name, (_, url) in made.items()}
    _, run_json = make_run(recipe, built.store, built.seal, heldout, urls)
    begun = Begun(recipe, built.store, Path(run_json))
    assert "stopped at only-" in begun.train(steps=7)
    assert 2 < begun.window < made["only"][0].windows - 4
    return begun


@pytest.fixture
def begun(straight: Begun, tmp_path: Path) -> Begun:
    shutil.copytree(straight.store.url, tmp_path / "store")
    store = Store.at(str(tmp_path / "store"))
    run_json = straight.run_json.relative_to(straight.store.url)
    return straight._replace(store=store, run_json=tmp_path / "store" / run_json)


def rows_by_stratum(phase: Phase) -> dict[int, list[int]]:
    """The numbers of the rows that all windows deliver, in order."""
    found: dict[int, list[int]] = {}
    for window in range(phase.windows):
        plan = phase.plan(window)
        for stratum in np.unique(plan.stratum).tolist():
            mine = np.sort(plan.row[plan.stratum == stratum]).tolist()
            found.setdefault(stratum, []).extend(mine)
    return found


Row = tuple[int, int]  # stratum, number in it
Place = tuple[str, int, int]  # shard, document, start


def places(phase: Phase, windows: range) -> dict[Row, Place]:
    """Where the rows lie that some windows deliver."""
    found = {}
    for window in windows:
        plan = phase.plan(window)
        shards = [f"{digest:016x}" for digest in plan.digests[plan.shard].tolist()]
        rows = zip(plan.stratum.tolist(), plan.row.tolist(), strict=True)
        where = zip(shards, plan.document.tolist(), plan.start.tolist(), strict=True)
        found |= dict(zip(rows, where, strict=True))
    return found


def test_a_run_goes_on_with_another_mixture_from_the_next_window(begun: Begun) -> None:
    window, old = begun.window, Phase(manifests.url_of(begun.store, begun.first()))
    flatter = begun.segment(begun.with_phase(tau=0.0), "flatter")
    assert flatter.continues
    assert (flatter.continues.manifest, flatter.from_window) == (old.manifest.id, window)
    begun.take_on(flatter)
    assert "finished only" in begun.train()

    new = Phase(manifests.url_of(begun.store, flatter))
    expected = [old.plan(w).digest() for w in range(window)]
    expected += [new.plan(w).digest() for w in range(window, old.windows)]
    assert begun.digests() == expected
    assert begun.digests()[window] != old.plan(window).digest()
    assert [new.plan(w).digest() for w in range(window)] == expected[:window]
    shares = {s.language: s.tokens for s in flatter.languages}
    before = {s.language: s.tokens for s in begun.first().languages}
    assert shares["fao"] > before["fao"]
    assert shares["isl"] < before["isl"]
    assert sum(shares.values()) == pytest.approx(24_000, rel=0.02)
    for stratum, rows in rows_by_stratum(new).items():
        assert rows == list(range(flatter.strata[stratum].rows))  # none twice, none left out


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


def test_segments_follow_one_another(begun: Begun) -> None:
    first = begun.segment(begun.with_phase(tau=0.0), "flatter")
    begun.take_on(first)
    again = begun.segment(begun.with_phase(tau=0.1), "flatter")
    assert again.continues == first.continues  # the first was never begun
    begun.take_on(again)
    begun.train(steps=5)
    last = begun.segment(begun.with_phase(tau=1.0, tau_end=0.0), "flatter")
    line = line_of(begun.store, last)
    assert [m.id for m in line] == [begun.first().id, again.id, last.id]
    assert 0 < again.from_window < last.from_window
    begun.take_on(last)
    assert "stopped at only-" in begun.train(steps=2)
    for stratum, rows in rows_by_stratum(Phase(manifests.url_of(begun.store, last))).items():
        assert rows == list(range(last.strata[stratum].rows))
    assert not verify_store(begun.store).problems
    garbage = {found.url for found in find_garbage(holdings(begun.store), keep=0, now=2e12)}
    folders = {manifests.url_of(begun.store, m).rsplit("/", 1)[0] for m in line}
    assert not folders & garbage
    shutil.rmtree(manifests.url_of(begun.store, again).rsplit("/", 1)[0])
    (problem,) = verify_store(begun.store).problems
    assert f"{again.id}/manifest.json: is missing, and " in problem


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


def test_a_language_comes_and_another_leaves(begun: Begun) -> None:
    old, recipe = begun.first(), begun.with_phase(languages=("isl", "nah"))
    built = build_store(recipe, begun.store.url)  # `mmbert data`, which builds nah
    make_manifests(recipe, built.store, built.seal, built.strata)
    changed = begun.segment(recipe, "other")
    assert [s.id for s in changed.strata][: len(old.strata)] == [s.id for s in old.strata]
    phase, window = Phase(manifests.url_of(begun.store, changed)), begun.window
    code = [share.language[:3] for share in changed.strata]
    before = {code[stratum] for stratum, _ in places(phase, range(window))}
    after = {code[stratum] for stratum, _ in places(phase, range(window, phase.windows))}
    assert before == {"eng", "fao", "isl"}
    assert after == {"eng", "isl", "nah"}
    for stratum, rows in rows_by_stratum(phase).items():
        assert rows == list(range(changed.strata[stratum].rows))
    assert not verify_store(begun.store).problems


def test_a_takedown_is_a_hole_from_the_segment_on_and_moves_no_row(
    begun: Begun, tmp_path: Path
) -> None:
    takedowns = tmp_path / "takedowns.txt"
    takedowns.write_text("".join(f"https://example.org/isl_Latn/{n}\n" for n in range(60)))
    lists = Exclusions(takedowns=(str(takedowns),))
    recipe = begun.recipe.model_copy(update={"exclusions": lists})
    old = Phase(manifests.url_of(begun.store, begun.first()))
    without = begun.segment(recipe, "without")
    (ref,) = without.exclusions
    assert (ref.from_window, ref.documents > 40) == (begun.window, True)
    table = exclusions.load(begun.store, ref)
    gone = {(row["shard"], row["document"]) for row in table.to_pylist()}

    new, past, ahead = (
        Phase(manifests.url_of(begun.store, without)),
        range(begun.window),
        range(begun.window, old.windows),
    )
    assert places(new, past) == places(old, past)
    assert gone & {place[:2] for place in places(new, past).values()}
    assert gone & {place[:2] for place in places(old, ahead).values()}
    assert not gone & {place[:2] for place in places(new, ahead).values()}
    was, now = places(old, range(old.windows)), places(new, range(old.windows))
    assert all(was.get(row, place) == place for row, place in now.items())
    assert not verify_store(begun.store).problems


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
    with pytest.raises(UserError, match="order_version is 0 in manifest"):
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


def test_a_phase_that_has_not_begun_may_change_from_its_start_and_one_that_ended_may_not(
    begun: Begun,
) -> None:
    begun.train()
    with pytest.raises(UserError, match="no window of only is left to be changed"):
        begun.segment(begun.with_phase(tau=0.0), "late")
    for folder in ("checkpoints", "models"):
        shutil.rmtree(begun.run_json.parent / folder)
    early = begun.segment(begun.with_phase(tau=0.0), "early")
    assert (early.from_window, early.knots) == (0, ())
    standing = Standing(begun.first(), 0, [0] * len(begun.first().strata))
    fresh = decide_remix(begun.with_phase(tau=0.0), "only", begun.store, "", None).manifest
    assert [s.rows for s in early.strata] == [s.rows for s in fresh.strata]
    assert going_on.standing(begun.store, begun.recipe, "only", str(begun.run_json)) == standing
