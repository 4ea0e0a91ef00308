"""I9: before a build the plan says that it estimates; after it, it equals what is published."""

from __future__ import annotations

import json

import pytest

from flows.cascade import data
from flows.job import Job
from flows.plan import make_plan
from pipelines.sample import write_sample
from schemas import manifest as manifests
from schemas.digest import Json


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("plan")
    write_sample(folder / "sample", languages=3, megabytes=0.4)
    sources = {f"sources.{n}.path": folder / "sample" / n for n in ("fineweb2", "dclm", "dolmino")}
    budgets = {"pretrain.pool_tokens": 60_000, "pretrain.budget_tokens": 90_000}
    budgets |= {"decay-all.pool_tokens": 50_000, "decay-all.budget_tokens": 40_000}
    settings = sources | {f"phases.{key}": value for key, value in budgets.items()}
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
