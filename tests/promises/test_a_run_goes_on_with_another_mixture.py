"""I4: a run goes on with another mixture, a takedown or another language from where it stands, and
no row comes twice or is left out.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows import going_on
from pipelines.collect_garbage import find_garbage
from pipelines.holdings import holdings
from pipelines.manifests import make_manifests
from pipelines.remix import decide_remix
from pipelines.segments import Standing
from pipelines.verify import verify_store
from schemas import exclusions
from schemas import manifest as manifests
from schemas.errors import UserError
from schemas.point import newest
from schemas.recipe import Exclusions
from schemas.segments import line_of
from tests.begun import Begun, places, rows_by_stratum
from tests.building import build_store
from tests.traced import timeline
from trainer.phase import Phase
from trainer.trace import trace_step


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


def test_steps_that_a_kill_undid_before_the_mixture_changed_are_traced_as_they_will_be(
    begun: Begun, tmp_path: Path
) -> None:
    run = begun.run_json.parent
    shutil.copytree(run / "checkpoints", tmp_path / "saved")
    assert "stopped at only-" in begun.train(steps=8)  # a kill would leave the checkpoint before
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(tmp_path / "saved", run / "checkpoints")
    saved = newest(run / "checkpoints", "only")
    assert saved
    begun.take_on(begun.segment(begun.with_phase(tau=0.1), "flat"))
    told = timeline(begun.run_json)
    assert told.anew == {"only": saved.step}
    assert told.is_done("only", saved.step)
    ahead = [trace_step(told, "only", saved.step + n) for n in range(1, 9)]
    assert not any(step.done for step in ahead)
    begun.train()
    done = timeline(begun.run_json)
    assert not done.anew
    assert [trace_step(done, "only", step.step).pieces for step in ahead] == [
        step.pieces for step in ahead
    ]
