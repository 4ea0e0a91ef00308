"""From the UI: a cancelled training leaves a checkpoint and no process, Retry goes on from there;
a run whose process dies starts once more; one training at a time. A real server, worker, torchrun.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.serve.automations import CRASHED, LOST, RESTART, SILENCE_S, TRAIN
from flows.serve.worker import MOST_RUNS
from tests.serving import (
    Served,
    built_store,
    only_run,
    saved_step,
    serving,
    set_aside,
    steps,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serve")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = built_store(tmp_path_factory.mktemp("served"), budget_tokens=2_000_000)
    with serving(store) as started:
        yield started
    assert started.process.returncode == 0
    assert started.left() == {}


def trains(served: Served, run: str, beyond: int = 0) -> None:
    """Wait until this run has trained a step."""
    served.wait(run, "Training")
    run_json = only_run(served.store)
    until(lambda: steps(run_json) > beyond, "it trains", lambda: served.story(run))


def training_processes(served: Served) -> list[int]:
    """Those of torchrun and its ranks."""
    return [pid for pid, words in served.commands().items() if "-m trainer" in words]


def one_that_trains_and_one_that_waits(served: Served) -> tuple[Path, str, str]:
    """The run.json of both, and the two flow runs."""
    run_json = only_run(served.store)
    first = served.start("train")
    trains(served, first, beyond=steps(run_json))
    second = served.start("train")
    served.wait(second, "WaitingToTrain")
    return run_json, first, second


def test_a_cancelled_training_leaves_a_checkpoint_and_no_process_and_goes_on(
    served: Served,
) -> None:
    run_json = only_run(served.store)
    run = served.start("train")
    trains(served, run)
    assert training_processes(served)
    served.cancel(run)
    until(lambda: not training_processes(served), "all of it has ended")
    saved = saved_step(run_json)
    assert saved > 0
    story = served.story(run)
    assert str(run_json.with_name("checkpoints")) in story
    assert "Retry" in story
    assert "goes on from its checkpoint" not in story

    seen = run_json.with_name("log.jsonl").read_text()
    served.set_state(run, "SCHEDULED", "AwaitingRetry")  # what the UI's button does
    trains(served, run, beyond=saved)
    assert run_json.with_name("log.jsonl").read_text().startswith(seen)
    until(lambda: "goes on from its checkpoint pretrain-" in served.story(run), "it says so")
    served.cancel(run)


def test_a_run_that_is_killed_starts_once_more_and_only_once(served: Served) -> None:
    """One that was to train from the start goes on with what it began, too."""
    run_json = only_run(served.store)
    run = served.start("train", {"fresh": True})
    until(lambda: set_aside(served.store), "the earlier run is set aside")
    trains(served, run)
    asked = served.call("GET", f"/flow_runs/{run}")["parameters"]
    served.process_of(run).kill()
    served.wait(run, "AwaitingRetry", "Pending", "Submitting")
    until(lambda: not training_processes(served), "its training saved a checkpoint and ended")
    trains(served, run, beyond=saved_step(run_json))
    assert served.call("GET", f"/flow_runs/{run}")["parameters"] == asked
    assert len(set_aside(served.store)) == 1

    served.process_of(run).kill()
    served.wait(run, "Crashed")
    other = served.start("remix", {"name": "later"})  # by then, a restart would have begun
    served.wait_for_end(other)
    assert served.state(run) == "Crashed"
    until(lambda: not training_processes(served), "all of it has ended")


def test_a_worker_that_is_killed_is_started_again_and_its_run_too(served: Served) -> None:
    run_json = only_run(served.store)
    run = served.start("train")
    trains(served, run, beyond=steps(run_json))
    before = training_processes(served)
    served.service("prefect worker start").kill()
    served.wait(run, "AwaitingRetry", "Pending", "Submitting")
    trains(served, run, beyond=saved_step(run_json))
    assert not set(before) & set(training_processes(served))
    served.cancel(run)


def test_a_cancelled_run_ends_where_its_worker_does_not_hear_of_it(served: Served) -> None:
    run_json, run, waiting = one_that_trains_and_one_that_waits(served)
    worker = served.service("prefect worker start")
    worker.suspend()
    try:
        served.cancel(waiting, run)
        until(lambda: not training_processes(served), "all of it has ended")
    finally:
        worker.resume()
    assert "ended itself" in served.story(run)
    assert "ended itself" in served.story(waiting)
    assert saved_step(run_json) > 0


def test_a_run_that_is_suspended_ends_behind_a_checkpoint(served: Served) -> None:
    """Prefect's UI offers that beside Cancel, and no worker takes notice of it."""
    run_json = only_run(served.store)
    run = served.start("train")
    trains(served, run, beyond=steps(run_json))
    served.set_state(run, "PAUSED", "Suspended")
    served.wait(run, "Cancelled")
    until(lambda: not training_processes(served), "all of it has ended")
    assert saved_step(run_json) > 0
    time.sleep(SILENCE_S + 20)
    assert served.state(run) == "Cancelled"


def test_a_server_that_is_killed_is_started_again_and_loses_no_run(served: Served) -> None:
    run_json, run, waiting = one_that_trains_and_one_that_waits(served)
    process, address = served.process_of(run), served.address()
    served.service("flows.prefect_server").kill()
    trains(served, run, beyond=steps(run_json))
    assert served.process_of(run) == process
    assert served.address() == address
    assert served.state(run) == "Training"
    assert served.state(waiting) == "WaitingToTrain"
    served.cancel(waiting)
    served.cancel(run)


def test_a_second_training_waits_and_a_killed_first_one_frees_its_place(served: Served) -> None:
    run_json, first, second = one_that_trains_and_one_that_waits(served)
    assert "waits until train" in served.story(second)
    assert served.state(first) == "Training"
    served.process_of(first).kill()
    served.wait(first, "AwaitingRetry", "Pending", "Submitting")

    # The first one starts once more, and whoever of the two asks first has the place.
    def training() -> str | None:
        return next((run for run in (first, second) if served.state(run) == "Training"), None)

    going = until(training, "one of them trains", lambda: served.story(second))
    trains(served, going, beyond=saved_step(run_json))
    served.cancel(first, second)


def test_trainings_that_wait_hold_up_no_remix(served: Served) -> None:
    run_json = only_run(served.store)
    first = served.start("train")
    trains(served, first, beyond=steps(run_json))
    others = [served.start("train") for _ in range(MOST_RUNS)]
    until(
        lambda: [served.state(run) for run in others].count("WaitingToTrain") == MOST_RUNS - 1,
        "as many wait as may",
    )
    remixed = served.start("remix", {"name": "meanwhile"})
    served.wait_for_end(remixed)
    assert served.state(remixed) == "Completed", served.story(remixed)
    assert served.state(first) == "Training"
    served.cancel(*others, first)


def test_registering_again_changes_nothing_that_somebody_switched(served: Served) -> None:
    found = {one["name"]: one for one in served.call("POST", "/automations/filter", {})}
    assert {name: one["enabled"] for name, one in found.items()} == {
        CRASHED: True,
        LOST: True,
        RESTART: True,
        TRAIN: False,
    }
    served.call("PATCH", f"/automations/{found[CRASHED]['id']}", {"enabled": False})
    served.call("PATCH", f"/automations/{found[TRAIN]['id']}", {"enabled": True})
    again = served.python("from flows.serve.automations import register; register('mmbert')")
    assert again.returncode == 0, again.stderr
    after = {one["id"]: one["enabled"] for one in served.call("POST", "/automations/filter", {})}
    assert after == {
        found[CRASHED]["id"]: False,
        found[LOST]["id"]: True,
        found[RESTART]["id"]: True,
        found[TRAIN]["id"]: True,
    }
    served.call("PATCH", f"/automations/{found[CRASHED]['id']}", {"enabled": True})


def test_a_new_mixture_starts_one_training_where_that_is_switched_on(served: Served) -> None:
    def trainings() -> dict[str, dict[str, object]]:
        wanted = {"flows": {"name": {"any_": ["train"]}}}
        found = served.call("POST", "/flow_runs/filter", wanted)
        return {run["id"]: run["parameters"] for run in found}

    (automation,) = [
        one for one in served.call("POST", "/automations/filter", {}) if one["name"] == TRAIN
    ]
    served.call("PATCH", f"/automations/{automation['id']}", {"enabled": True})
    before = trainings()
    mixed = served.start("remix", {"name": "flatter", "phase": "extend", "tau": 0.3})
    served.wait_for_end(mixed)
    until(lambda: len(trainings()) > len(before), "a training is started")
    (started,) = set(trainings()) - set(before)
    assert trainings()[started]["mixtures"] == ["extend=flatter"]
    assert trainings()[started]["store"] == str(served.store)
    served.wait(started, "Training", "Scheduled", "Pending", "Running")
    served.cancel(started)
    served.call("PATCH", f"/automations/{automation['id']}", {"enabled": False})
