"""A plan from published sizes alone, without data, network or store; what is missing first."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec import AbstractFileSystem

from flows import inputs
from flows.bill import bill, listing
from flows.cli import main
from flows.inputs import find, look_up, missing_inputs
from flows.job import Job
from flows.plan import Plan, make_plan
from schemas.errors import UserError
from schemas.recipe import Recipe

PHASES = ["pretrain", "extend", "decay-eng", "decay-cont", "decay-all"]
BY_SUM = {"code", "mul"}  # no natural languages; `mul` stands for several


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub answers, and nobody is logged in, wherever the test runs."""

    def refused(place: str) -> None:
        if "://" in place:
            raise OSError("no route to host")
        find(place)

    monkeypatch.setattr(inputs, "find", refused)
    monkeypatch.setattr(inputs, "_has_account", lambda: False)


def planned(name: str, tmp_path: Path, *overrides: str) -> Plan:
    return make_plan(Job(recipe=name, overrides=overrides, store=str(tmp_path / "store")))


@pytest.mark.parametrize("name", ["base", "small"])
def test_every_phase_and_language_is_planned(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", name, "--json", "--store", str(tmp_path / "store")]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["estimated"]
    assert [phase["name"] for phase in plan["phases"]] == PHASES
    counts = []
    for phase in plan["phases"]:
        assert not phase["doubt"]
        found = {share["language"] for share in phase["languages"]}
        absent = {absence["language"] for absence in phase["absent"]}
        assert not found & absent
        assert "code" in found
        counts.append(len(found - BY_SUM) + len(absent))
        total = sum(share["tokens"] for share in phase["languages"])
        assert total == pytest.approx(phase["budget_tokens"], rel=1e-9)
        assert all(share["rows"] > 0 for share in phase["languages"])
    assert counts == [60, 109, 109, 109, 1833]  # 109 and code are the published 110
    assert plan["gpu_hours"] > 1000
    assert plan["shard_bytes"] > 1e12
    assert not (tmp_path / "store").exists()


def test_what_enters_in_the_last_decay_comes_once_in_full(tmp_path: Path) -> None:
    plan = planned("base", tmp_path)
    passes = 100e9 / plan.phases[-1].pool_tokens
    epochs = {share.language: share.epochs / passes for share in plan.phases[-1].languages}
    earlier = {share.language for share in plan.phases[1].languages}
    tail = [epochs[code] for code in epochs.keys() - earlier]
    assert len(tail) == 1833 - 109 - 32
    assert sum(value > 0.999 for value in tail) >= len(tail) - 20
    assert max(epochs.values()) < 1.01  # a language of 200 tokens is rounded to whole ones


def test_languages_that_v2_1_no_longer_has_are_absent_with_the_reason(tmp_path: Path) -> None:
    absent = planned("base", tmp_path).phases[-1].absent
    assert len(absent) == 32
    assert {a.reason for a in absent} == {
        "not in the published sizes, FineWeb2 v2.1's; v2.0 has it"
    }


def test_the_bill_names_what_is_missing_before_anything_else(tmp_path: Path) -> None:
    plan = planned("small", tmp_path)
    lines = list(bill(plan))
    recipe = plan.recipe
    assert lines[0].startswith("  missing     13 inputs")
    first = "\n".join(lines[: next(i for i, line in enumerate(lines) if line.startswith("  text"))])
    for key in [*(f"sources.{name}.path" for name in recipe.sources), "tokenizer.path"]:
        assert key in first, key
    assert "start.model" in first
    assert "is gated" in first
    assert "hf auth login" in first
    assert "cannot be reached (no route to host): connect to it" in first
    assert "v2.1" in first  # whose sizes stand in
    assert any("GPU hours" in line and "H100" in line for line in lines)
    assert any("32" in line for line in listing(plan) if "absent" in line)


def test_a_build_without_its_inputs_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("data", "run"):
        assert main([command, "base", "--store", str(tmp_path / "store")]) == 2
        told = capsys.readouterr().err
        assert told.startswith("mmbert: 12 inputs cannot be had: ")
        assert told.count("\n") == 1
        assert "tokenizer.path" in told
        assert "`mmbert plan` says for each what mends it" in told
        assert not (tmp_path / "store").exists()


def test_a_mistyped_path_is_no_published_size(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^sources.fineweb2.path: /nowhere does not exist; "):
        planned("base", tmp_path, "sources.fineweb2.path=/nowhere")
    with pytest.raises(UserError, match=r"sources.dclm.path=/nowhere, .*--set KEY=PLACE"):
        planned("tiny", tmp_path, "sources.fineweb2.path=/nowhere", "sources.dclm.path=/nowhere")


def test_a_source_that_is_there_is_measured(tmp_path: Path) -> None:
    folder = tmp_path / "arxiv"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "of the dual of a space"}\n' * 1000)
    plan = planned(
        "base", tmp_path, f"sources.arxiv.path={folder}", "phases.pretrain.pool_tokens=9e9"
    )
    assert "sources.arxiv.path" not in {missing.key for missing in plan.missing}
    by_source = {supply.source: supply for supply in plan.supplies}
    assert not by_source["arxiv"].published
    assert by_source["books"].published
    assert by_source["arxiv"].num_bytes == (folder / "a.jsonl").stat().st_size


def base(*overrides: str) -> Recipe:
    return Job(recipe="base", overrides=overrides).load()


def test_a_gated_source_is_there_for_those_who_may_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "find", lambda place: None)
    (gated,) = missing_inputs(base())
    assert gated.key == "sources.starcoder.path"
    assert gated.reason == "is gated"
    monkeypatch.setattr(inputs, "_has_account", lambda: True)
    assert missing_inputs(base()) == ()


@pytest.fixture
def silence() -> Iterator[threading.Event]:
    """A hub that never answers, until the test is over."""
    over = threading.Event()
    yield over
    over.set()


def test_a_place_that_never_answers_does_not_hold_up_the_rest(
    monkeypatch: pytest.MonkeyPatch, silence: threading.Event, tmp_path: Path
) -> None:
    def asked(place: str) -> None:
        if place.startswith("hf://"):
            silence.wait()
        find(place)

    monkeypatch.setattr(inputs, "find", asked)
    monkeypatch.setattr(inputs, "LOOK_UP_S", 0.05)
    nowhere = str(tmp_path / "nowhere")
    troubles = look_up(["hf://datasets/a", "hf://datasets/b", nowhere, str(tmp_path)])
    assert troubles == {
        "hf://datasets/a": "gave no answer within 0 s",
        "hf://datasets/b": "gave no answer within 0 s",
        nowhere: "does not exist",
    }


class Hub(AbstractFileSystem):
    """Fails as the hub's file system does."""

    def info(self, path: str, **_: object) -> dict[str, object]:
        if path.endswith("nothing"):
            raise FileNotFoundError(path)
        if path.endswith("offline"):
            raise ConnectionError(f"Cannot reach https://example.org/{path}: offline mode is on.")
        if path.endswith("forbidden"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return {"name": path, "size": 0, "type": "directory"}


def test_only_what_its_server_denies_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "find", find)
    fsspec.register_implementation("hub", Hub, clobber=True)
    places = [f"hub://{name}" for name in ("there", "nothing", "offline", "forbidden")]
    assert look_up([*places, "unheard-of://a"]) == {
        "hub://nothing": "does not exist",
        "hub://offline": "cannot be reached (Cannot reach it: offline mode is on.)",
        "hub://forbidden": "cannot be reached (Permission denied)",
        "unheard-of://a": "cannot be reached (Protocol not known: unheard-of)",
    }
