"""I9: before a build the plan says that it estimates; after it, it equals what is published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from flows.bill import bill
from flows.cascade import data
from flows.confirm import confirm_build
from flows.job import Job, Profile
from flows.outcome import Outcome
from flows.plan import make_plan
from pipelines.sample import write_sample
from schemas import manifest as manifests
from schemas.digest import Json
from schemas.errors import UserError


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("plan")
    write_sample(folder / "sample", languages=3, megabytes=0.4)
    tiny = Job(recipe="tiny").load()
    settings = {f"sources.{n}.path": folder / source.path for n, source in tiny.sources.items()}
    for phase in tiny.phases:
        pool, budget = (60_000, 90_000) if phase == "pretrain" else (50_000, 40_000)
        settings[f"phases.{phase}.pool_tokens"] = pool
        settings[f"phases.{phase}.budget_tokens"] = budget
    settings["tokenizer.train.vocab_size"] = 1000
    return Job(
        recipe="tiny",
        overrides=tuple(f"{key}={value}" for key, value in settings.items()),
        store=str(folder / "store"),
    )


def by_language(plan: dict[str, Json], phase: int) -> dict[str, Json]:
    return {entry["language"]: entry for entry in plan["phases"][phase]["languages"]}


def test_an_estimate_says_so_and_names_what_the_manifest_will_name(job: Job) -> None:
    before = make_plan(job).public()
    assert before["estimated"]
    published = data(job).manifests
    after = make_plan(job).public()
    assert not after["estimated"]
    for number, (name, url) in enumerate(published.items()):
        manifest = manifests.load(url)
        guess, exact = by_language(before, number), by_language(after, number)
        assert before["phases"][number]["name"] == name
        assert set(guess) == set(exact) == {share.language for share in manifest.languages}
        absent = [absence.language for absence in manifest.absent]
        for plan in (before, after):
            assert [a["language"] for a in plan["phases"][number]["absent"]] == absent
        for share in manifest.languages:
            assert exact[share.language] == {
                "language": share.language,
                "tokens": share.tokens,
                "rows": share.rows,
                "epochs": share.epochs,
            }
            assert 0.5 < guess[share.language]["tokens"] / share.tokens < 2
    assert json.loads(json.dumps(after)) == after


def test_the_bill_tells_a_manifest_from_training_still_to_do(job: Job) -> None:
    data(job)
    told = "\n".join(bill(make_plan(job)))
    assert "new         + training of pretrain, extend, decay-eng, decay-cont, decay-all (" in told
    assert "manifest and training" not in told


def test_the_bill_says_what_of_a_mixture_has_changed(job: Job) -> None:
    data(job)
    flatter = (*job.overrides, "phases.extend.tau=0.1")
    plan = make_plan(job.model_copy(update={"overrides": flatter}))
    assert plan.remixed == {"extend": "tau"}
    assert "  remixed     ~ extend (tau)" in list(bill(plan))
    strata = plan.public()["strata"]
    assert strata["new"] == []
    assert strata["rebuilt"] == {}
    assert strata["reused"] > 3


def test_a_build_above_a_size_asks_first(job: Job, tmp_path: Path) -> None:
    data(job)
    small = job.model_copy(update={"profile": Profile(confirm_above_gb=0)})
    confirm_build(small, yes=False)  # all of it is built
    anew = small.model_copy(update={"store": str(tmp_path / "store")})
    with pytest.raises(UserError, match=r"this would build .* of raw text, .* add --yes"):
        confirm_build(anew, yes=False)
    confirm_build(anew, yes=True)
    confirm_build(anew.model_copy(update={"profile": Profile()}), yes=False)


def test_pools_that_cannot_be_met_are_told_together(job: Job) -> None:
    data(job)
    too_much = ("phases.extend.pool_tokens=9e9", "phases.decay-all.pool_tokens=9e9")
    with pytest.raises(UserError) as told:
        make_plan(job.model_copy(update={"overrides": (*job.overrides, *too_much)}))
    assert "phases.extend.pool_tokens asks for" in str(told.value)
    assert "phases.decay-all.pool_tokens asks for" in str(told.value)


def files_of(job: Job, *folders: str) -> set[Path]:
    return {path for folder in folders for path in Path(job.store, folder).rglob("*")}


def test_a_build_that_cannot_meet_every_pool_publishes_no_manifest(job: Job) -> None:
    data(job)
    before = files_of(job, "manifests", "runs")
    changed = ("phases.pretrain.tau=0.4", "phases.extend.pool_tokens=9e9")
    too_much = (*changed, "phases.decay-all.pool_tokens=9e9")
    with pytest.raises(UserError) as told:
        data(job.model_copy(update={"overrides": (*job.overrides, *too_much)}))
    assert "phases.extend.pool_tokens asks for" in str(told.value)
    assert "phases.decay-all.pool_tokens asks for" in str(told.value)
    assert files_of(job, "manifests", "runs") == before


def test_a_phase_alone_makes_no_run(job: Job) -> None:
    whole = data(job)
    before = files_of(job, "runs", "heldout")
    part = data(job.model_copy(update={"phase": "extend"}))
    assert part.manifests == {"extend": whole.manifests["extend"]}
    assert part.public()["run"] is None
    assert files_of(job, "runs", "heldout") == before


def test_a_phase_alone_is_planned_as_trained_in_the_whole_run(job: Job, tmp_path: Path) -> None:
    shutil.copytree(job.store, tmp_path / "store")
    mine = job.model_copy(update={"store": str(tmp_path / "store")})
    trained(data(mine), "pretrain")
    assert make_plan(mine).done == {"pretrain"}
    alone = make_plan(mine.model_copy(update={"phase": "pretrain"}))
    assert alone.exact
    assert alone.trained
    assert not make_plan(mine.model_copy(update={"phase": "extend"})).trained
    too_much = (*mine.overrides, "phases.extend.pool_tokens=9e9")
    update = {"phase": "pretrain", "overrides": too_much}
    assert not make_plan(mine.model_copy(update=update)).trained  # there can be no such run


def trained(outcome: Outcome, phase: str) -> None:
    """As the trainer leaves a phase that is done."""
    assert outcome.run_url is not None
    run = Path(outcome.run_url).parent
    (run / "models" / phase).mkdir(parents=True)
    (run / "models" / phase / "config.json").write_text("{}")
    line = {"kind": "phase", "event": "end", "phase": phase, "step": 3}
    (run / "log.jsonl").write_text(json.dumps(line) + "\n")
