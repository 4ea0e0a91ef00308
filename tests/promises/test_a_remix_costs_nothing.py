"""I11: a remix is what a build would decide, without the text, and without a look at a token."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from flows import cascade
from flows.cli import main
from flows.job import Job
from flows.named_mixtures import parse
from pipelines.sample import write_sample
from schemas import manifest as manifests
from schemas import run as runs
from schemas.errors import UserError
from schemas.find_manifest import named_manifest
from tests.building import files_of


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """tiny over a small sample, whose text is gone by now."""
    folder = tmp_path_factory.mktemp("remix")
    write_sample(folder / "sample", languages=4, megabytes=0.4)
    tiny = Job(recipe="tiny").load()
    settings = {f"sources.{n}.path": folder / source.path for n, source in tiny.sources.items()}
    for phase in tiny.phases:
        settings[f"phases.{phase}.pool_tokens"] = 50_000
        settings[f"phases.{phase}.budget_tokens"] = 60_000
    settings["tokenizer.train.vocab_size"] = 1000
    overrides = tuple(f"{key}={value}" for key, value in settings.items())
    job = Job(recipe="tiny", overrides=overrides, store=str(folder / "store"))
    cascade.data(job)
    shutil.copytree(folder / "sample", folder / "kept")
    shutil.rmtree(folder / "sample")
    return job


def with_text(built: Job, folder: Path) -> Job:
    """The same over a store of its own and the text that was kept."""
    shutil.copytree(built.store, folder / "store")
    kept = Path(built.store).with_name("kept")
    elsewhere = [f"sources.{n}.path={kept / n}" for n in built.load().sources]
    overrides = (*built.overrides, *elsewhere)
    return built.model_copy(update={"overrides": overrides, "store": str(folder / "store")})


def remix(job: Job, *options: str, code: int = 0) -> None:
    settings = [part for text in job.overrides for part in ("--set", text)]
    arguments = ["remix", job.recipe, "--phase", "extend", "--store", job.store, *settings]
    assert main([*arguments, *options]) == code


def test_an_unchanged_recipe_is_mixed_into_the_manifest_that_was_built(
    built: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(Path(built.store))
    main_url = named_manifest(built.at(), "tiny", "extend", "main")
    remix(built, "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["url"] == main_url
    assert told["difference"]["settings"] == []
    assert files_of(Path(built.store)) == before


def test_a_new_mixture_adds_one_manifest_and_its_name(
    built: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(Path(built.store))
    remix(built, "--set", "phases.extend.tau=0.1", "--name", "flatter")
    told = capsys.readouterr().out
    assert "tau                 0.5 -> 0.1" in told
    assert "mmbert train tiny --manifest extend=flatter" in told
    assert "phases.extend.tau" not in told.splitlines()[-1]
    after = files_of(Path(built.store))
    assert {name: after.get(name) for name in before} == before
    new = sorted(name.rsplit("/", 1)[1] for name in after.keys() - before.keys())
    assert new == ["flatter.json", "manifest.json", "shards.arrow"]


@pytest.mark.parametrize("then_train", [False, True])
def test_from_the_form_it_starts_one_training_at_most(
    built: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then_train: bool
) -> None:
    """An automation hears of the mixture, unless the run starts the training itself."""
    from flows.serve import deployed

    told: list[Job] = []
    started: list[list[str]] = []
    monkeypatch.setattr(deployed, "announce", lambda *of: told.append(of[3]))
    monkeypatch.setattr(deployed, "_start_training", lambda *of: started.append(of[4]) or "it")
    store = with_text(built, tmp_path).store
    deployed.remix.fn.__wrapped__(  # type: ignore[attr-defined]
        "flattest",
        phase="extend",
        tau=0.05,
        train=then_train,
        store=store,
        overrides=list(built.overrides),
    )
    overrides = started if then_train else [list(job.overrides) for job in told]
    assert (len(told), len(started)) == ((0, 1) if then_train else (1, 0))
    assert any(text.startswith("sources.dclm.path=") for text in overrides[0])
    assert not any("tau" in text for text in overrides[0])  # the mixture's own affair


def test_it_is_what_a_build_with_these_settings_decides(built: Job, tmp_path: Path) -> None:
    remix(built, "--set", "phases.extend.tau=0.2", "--name", "flat")
    remixed = named_manifest(built.at(), "tiny", "extend", "flat")
    shutil.copytree(built.store, tmp_path / "store")
    kept = Path(built.store).with_name("kept")
    elsewhere = [f"sources.{n}.path={kept / n}" for n in built.load().sources]
    overrides = (*built.overrides, *elsewhere, "phases.extend.tau=0.2")
    store = str(tmp_path / "store")
    again = cascade.data(built.model_copy(update={"overrides": overrides, "store": store}))
    assert remixed
    assert manifests.load(again.manifests["extend"]).id == manifests.load(remixed).id


def test_training_takes_a_mixture_by_its_name(
    built: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flatter = ("phases.extend.tau=0.3", "phases.extend.budget_tokens=40_000")
    remix(built, *(part for text in flatter for part in ("--set", text)), "--name", "short")
    shutil.copytree(built.store, tmp_path / "store")
    kept = Path(built.store).with_name("kept")
    elsewhere = [f"sources.{n}.path={kept / n}" for n in built.load().sources]
    job = built.model_copy(
        update={
            "overrides": (*built.overrides, *elsewhere),
            "store": str(tmp_path / "store"),
            "manifests": {"extend": "short"},
        }
    )
    run = runs.load(cascade.data(job).run_url or "")
    phase = next(phase for phase in run.phases if phase.name == "extend")
    manifest = manifests.load(job.at().resolve(phase.manifest))
    assert f"extend     {manifest.id[:12]}: short, instead of its own" in capsys.readouterr().out
    assert (manifest.tau, phase.settings.tau) == (0.3, 0.3)
    assert phase.settings.budget_tokens == manifest.budget_tokens == 40_000
    plain = runs.load(cascade.data(job.model_copy(update={"manifests": {}})).run_url or "")
    assert plain.id != run.id


def test_a_run_goes_on_with_a_mixture_by_its_name(
    built: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = with_text(built, tmp_path)
    begun = cascade.data(job).run_url or ""
    capsys.readouterr()
    name = begun.split("/")[-2]
    remix(job, "--set", "phases.extend.tau=0.1", "--name", "after", "--continue", name)
    told = capsys.readouterr().out
    assert "window 0 on -> after" in told
    assert "mmbert train tiny --manifest extend=after" in told
    assert cascade.data(job.model_copy(update={"manifests": {"extend": "after"}})).run_url == begun
    segment = runs.load(begun).phases[1].current
    assert manifests.load(job.at().resolve(segment)).continues
    assert cascade.data(job).run_url == begun
    assert runs.load(begun).phases[1].current == segment
    cascade.data(job.model_copy(update={"manifests": {"extend": "main"}}))
    assert runs.load(begun).phases[1].segment is None
    remix(job, "--continue", "no-such-run", code=2)
    assert "has no run no-such-run" in capsys.readouterr().err


def test_of_runs_that_began_a_phase_alike_the_one_that_is_meant_goes_on(
    built: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = with_text(built, tmp_path)
    remix(job, "--set", "phases.extend.tau=0.1", "--name", "flatter")
    flatter = cascade.data(job.model_copy(update={"manifests": {"extend": "flatter"}})).run_url
    urls = [cascade.data(job).run_url, flatter]
    settings = [part for text in job.overrides for part in ("--set", text)]
    for url in filter(None, urls):
        remixed = ["remix", "tiny", "--phase", "pretrain", "--set", "phases.pretrain.tau=0.1"]
        remixed += ["--name", "after", "--continue", url.split("/")[-2], "--json"]
        capsys.readouterr()
        assert main([*remixed, *settings, "--store", job.store]) == 0
        words = shlex.split(json.loads(capsys.readouterr().out)["train"])
        named = parse([words[at + 1] for at, word in enumerate(words) if word == "--manifest"])
        assert named["pretrain"] == "after"
        assert cascade.data(job.model_copy(update={"manifests": named})).run_url == url
    with pytest.raises(UserError, match=r"any of tiny-\w+ --manifest extend=.*, tiny-"):
        cascade.data(job.model_copy(update={"manifests": {"pretrain": "after"}}))


def test_what_is_missing_is_told_with_the_command_that_builds_it(
    built: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    remix(built, "--set", "filters.min_characters=100", code=2)
    told = capsys.readouterr().err
    assert "filters.min_characters is not what the strata of tiny were built with" in told
    assert "mmbert data tiny --phase extend" in told
    remix(built, "--set", "phases.extend.languages=['fao','nah']", code=2)
    assert "nah" in capsys.readouterr().err
    remix(built, "--name", "main", code=2)
    assert "main is what a build makes" in capsys.readouterr().err
    remix(built, "--name", "2x", code=2)
    assert "2x is no name for a mixture: it is a letter, then" in capsys.readouterr().err
    assert main(["remix", "base", "--phase", "pretrain", "--store", built.store]) == 2
    assert "has no strata of base/pretrain to mix anew" in capsys.readouterr().err


def test_a_difference_lists_what_changed_the_most_first(
    built: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["diff", "tiny/pretrain", "tiny/decay-all", "--store", built.store]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    changes = [
        abs((row["after"] or {}).get("share", 0) - (row["before"] or {}).get("share", 0))
        for row in told["languages"]
    ]
    assert changes == sorted(changes, reverse=True)
    assert {row["name"] for row in told["settings"]} >= {"phase", "tau", "mask_rate", "context"}
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert re.search(r"mask_rate +0.3 -> 0.05", told), told
    assert re.search(r"dclm % +30 -> 8\b", told), told
    assert main(["diff", "tiny/pretrain", "tiny/pretrain", "--store", built.store]) == 0
    assert "no difference" in capsys.readouterr().out
