"""A job is a recipe and a profile; what it names wrongly is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.job import Job, Profile, choose_store, load_profile
from schemas.errors import UserError

PHASES = ["pretrain", "extend", "decay-eng", "decay-cont", "decay-all"]


def test_the_packaged_recipe_is_a_recipe_and_a_phase_can_be_chosen() -> None:
    recipe = Job(recipe="tiny").load()
    assert list(recipe.phases) == PHASES
    assert recipe.released == "release"
    one = Job(recipe="tiny", phase="decay-all")
    assert list(one.chosen(recipe).phases) == ["decay-all"]
    assert one.chosen(recipe).released == "decay-all"
    assert list(one.whole().chosen(recipe).phases) == PHASES


def test_the_local_profile_takes_what_the_machine_has() -> None:
    profile = load_profile("local")
    assert profile.build.count >= 1
    assert profile.num_threads >= 1
    assert Profile(nproc=10_000).num_threads == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wrokers = 2", "wrokers: extra inputs"),
        ("[build]\nworkers = -1", "build.workers: input should be"),
        ('[build]\nexecutor = "slurm"', "build: value error, executor"),
        ("nproc = -1", "nproc: input should be"),
        ("x =", ""),
    ],
)
def test_a_wrong_profile_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_profile(str(path))
    assert told in str(caught.value)
    known = "build, beam, train, store, nproc, threads, micro_batch_tokens, confirm_above_gb, track"
    assert str(caught.value).endswith(f"a profile holds {known}")


def test_a_missing_profile_lists_those_there_are() -> None:
    with pytest.raises(UserError, match="one of: kubernetes, local, ray, slurm"):
        load_profile("moon")


def test_a_store_is_the_one_given_else_the_profile_s_else_a_folder_here() -> None:
    mine = Profile(store="s3://mine")
    assert choose_store("given", mine) == "given"
    assert choose_store(None, mine) == "s3://mine"
    assert choose_store(None, Profile()) == Job().store


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[train]\nlauncher = "slurm"', "needs a table [train.slurm]"),
        ('[train]\nlauncher = "kubernetes"', "needs a table [train.kubernetes]"),
        ("[train]\nnodes = 2", "several hosts are named"),
        (
            '[train]\nlauncher = "slurm"\nhosts = ["a", "b"]\nslurm = { partition = "x" }',
            "slurm chooses its nodes",
        ),
    ],
)
def test_a_training_elsewhere_is_described(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_profile(str(path))
    assert told in str(caught.value)


def test_a_job_s_processes_and_threads_are_those_of_its_nodes() -> None:
    slurm = load_profile("slurm")
    assert (slurm.num_processes, slurm.num_threads) == (8, 8)
    on_cpus = slurm.train.model_copy(update={"gpus": 0})
    assert slurm.model_copy(update={"train": on_cpus, "nproc": 4}).num_threads == 16
