"""I7: interrupted, resumed, raced, with any number of workers, on another path: the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from datatrove.pipeline.base import PipelineStep

from pipelines import publish as publish_module
from pipelines.executor import WorkerDied, execute
from pipelines.manifests import make_manifest
from schemas.profile import Workers
from schemas.progress import silent
from schemas.store import Store
from tests import corpora
from tests.building import build_store, files_of

LANGUAGES = {"fao_Latn": 40, "isl_Latn": 90, "swh_Latn": 15}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    root = corpora.write_corpus(folder / "raw", LANGUAGES)
    build_store(corpora.recipe(root), folder / "store")
    return root, files_of(folder / "store" / "strata")


def test_more_workers_and_another_path(
    tmp_path: Path, undisturbed: tuple[Path, dict[str, str]]
) -> None:
    root, expected = undisturbed
    moved = tmp_path / "elsewhere" / "raw"
    shutil.copytree(root, moved)
    build_store(corpora.recipe(moved), tmp_path / "store", workers=2)
    assert files_of(tmp_path / "store" / "strata") == expected


def test_interrupted_while_publishing(
    tmp_path: Path, undisturbed: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, expected = undisturbed
    calls = iter(range(100))
    real = publish_module.strata.publish

    def dies_at_the_third(*args: object) -> object:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(publish_module.strata, "publish", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        build_store(corpora.recipe(root), tmp_path / "store")
    monkeypatch.undo()
    # Some spills are gone too, as if the disk had been tidied meanwhile.
    for spill in sorted((tmp_path / "store" / "spills").glob("*/spill.json"))[::2]:
        spill.unlink()
    again = build_store(corpora.recipe(root), tmp_path / "store")
    assert 0 < again.num_new < 5
    assert files_of(tmp_path / "store" / "strata") == expected


def test_two_builds_at_once(tmp_path: Path, undisturbed: tuple[Path, dict[str, str]]) -> None:
    root, expected = undisturbed
    failures: list[BaseException] = []

    def one() -> None:
        try:
            build_store(corpora.recipe(root), tmp_path / "store")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert files_of(tmp_path / "store" / "strata") == expected


def test_manifests_are_equal_too(tmp_path: Path, undisturbed: tuple[Path, dict[str, str]]) -> None:
    root, _ = undisturbed
    recipe = corpora.recipe(root)
    ids = []
    for name in ("a", "b"):
        built = build_store(recipe, tmp_path / name)
        ids.append(make_manifest(recipe, "only", built.store, built.seal, built.strata)[0].id)
    assert ids[0] == ids[1]
    assert files_of(tmp_path / "a" / "manifests") == files_of(tmp_path / "b" / "manifests")


def test_a_damaged_stratum_is_rebuilt_once_its_folder_is_deleted(
    tmp_path: Path, undisturbed: tuple[Path, dict[str, str]]
) -> None:
    root, expected = undisturbed
    build_store(corpora.recipe(root), tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / "strata" / "fineweb2" / "isl_Latn" / "all")
    assert build_store(corpora.recipe(root), tmp_path / "store").num_new == 1
    assert files_of(tmp_path / "store" / "strata") == expected


def test_a_killed_worker_ends_the_build_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WorkerDied, match="was killed"):
        execute([Dies()], 2, Workers(workers=2), Store.at(str(tmp_path)), "dying", silent)


class Dies(PipelineStep):
    """Kills its own process, as a kernel short of memory does."""

    name = "dies"
    type = "test"

    def run(self, data: object = None, rank: int = 0, world_size: int = 1) -> Iterator[object]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield data
