"""What a newcomer does, in a real browser: schedule a build, change tau, see what that changes,
train with it, cancel. README's "From the UI" tells the same story with the pictures made here.

A real server, worker, torchrun and Chromium; once on SQLite and once on a real Postgres. Pictures
lie in build/browser (`make browser`); nothing outside this machine is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from schemas.find_manifest import named_manifest
from schemas.store import Store
from tests.browser.prefect_ui import PrefectUI, browser, opened
from tests.postgres import postgres
from tests.serving import Served, built_store, saved_step, serving, steps, until

PICTURES = Path(__file__).parents[2] / "build" / "browser"
LANGUAGES = 16

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("serve"),
    pytest.mark.skipif(browser() is None, reason="no Chromium here: `make browser` installs it"),
]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        environment = {}
        if request.param == "postgres":
            url = stack.enter_context(postgres(folder))
            environment["PREFECT_API_DATABASE_CONNECTION_URL"] = url
        store = built_store(folder, 1_000_000, LANGUAGES, megabytes=3.0, vocab_size=8_192)
        served = stack.enter_context(serving(store, environment=environment))
        yield served
    assert served.process.returncode == 0
    assert served.left() == {}


@pytest.fixture(scope="module")
def ui(served: Served, request: pytest.FixtureRequest) -> Iterator[PrefectUI]:
    with opened(served.address(), PICTURES) as page:
        yield page
        if request.session.testsfailed:
            page.picture("failed")
        assert page.outside == []


def test_a_newcomer_schedules_remixes_trains_and_cancels(served: Served, ui: PrefectUI) -> None:
    # schedules a build
    ui.deployment("data")
    ui.page.get_by_text("At 03:00 AM").wait_for()
    ui.switch_on_schedule()
    found = served.call("GET", "/deployments/name/data/data")
    until(
        lambda: served.call("GET", f"/deployments/{found['id']}")["schedules"][0]["active"],
        "the schedule is on",
    )
    ui.deployment("data")
    ui.picture("1-schedule")

    # changes tau
    ui.form("remix")
    ui.write("Name of the new mixture", "flatter")
    ui.field("Phase").clear()
    ui.write("Phase", "extend")
    ui.write("tau", "0.2")
    ui.picture("2-form")
    ui.submit()
    ui.wait_for_state("Completed")
    flatter = named_manifest(Store.at(str(served.store)), "tiny", "extend", "flatter")
    assert flatter is not None

    # sees the new distribution beside the old
    ui.tab("Artifacts")
    ui.page.get_by_text("difference-tiny-extend").first.click()
    ui.page.get_by_text("all of the difference").wait_for()
    ui.picture("3-difference")
    ui.page.goto(ui.page.get_by_text("all of the difference").get_attribute("href") or "")
    ui.page.get_by_text("flatter").first.wait_for()
    ui.picture("3-difference-whole")

    # starts a training run
    ui.form("train")
    ui.add_item("Mixtures", "extend=flatter")
    ui.submit()
    ui.wait_for_state("Training")
    run_json = until(lambda: next(iter(served.store.glob("runs/*/log.jsonl")), None), "it trains")
    run_json = run_json.with_name("run.json")
    until(lambda: steps(run_json) > 40, "it trains", lambda: served.story(ui.run))
    until(
        lambda: any("loss" in found["description"] for found in served.artifacts("training-tiny")),
        "its curves are shown",
    )
    page = ui.page.url
    ui.page.goto(f"{ui.url}/artifacts/key/training-tiny")
    ui.page.locator("a[href*='/artifacts/artifact/']").first.click()
    ui.page.locator("img").first.wait_for()
    ui.picture("4-training")

    # cancels it
    ui.page.goto(page)
    ui.page.get_by_role("button", name="Cancel").click()
    ui.page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    ui.wait_for_state("Cancelled")
    ui.picture("5-cancelled")
    until(
        lambda: not [words for words in served.commands().values() if "-m trainer" in words],
        "all of the training has ended",
    )
    assert saved_step(run_json) > 0
