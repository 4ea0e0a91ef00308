"""Prefect's UI in a real browser, by what a person reads on it: titles of fields, words on buttons.

Debian's Chromium, headless, on pages of this machine alone: a request to anywhere else is kept in
`outside`, and a test holds that there is none.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, TimeoutError, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",  # as root, in a container
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SIZE = {"width": 1280, "height": 900}
PATIENCE_S = 240  # of a page on a machine that does other work, too
TRIES, TRY_S = 6, 15


def browser() -> str | None:
    """The path of a Chromium on this machine."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


class PrefectUI:
    """One page of a browser on the UI at `url`; pictures go to `pictures`."""

    def __init__(self, page: Page, url: str, pictures: Path) -> None:
        self.page, self.url, self.pictures = page, url, pictures
        self.outside: list[str] = []
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("request", lambda asked: self._note(asked.url))

    def _note(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.outside.append(url)

    def picture(self, name: str) -> None:
        self.page.screenshot(path=self.pictures / f"{name}.png", animations="disabled")

    def deployment(self, name: str) -> None:
        """Open the page of a deployment."""
        self.page.goto(f"{self.url}/deployments")
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.page.wait_for_url("**/deployments/deployment/**")
        self.page.get_by_text("Entrypoint").wait_for()

    def form(self, name: str) -> None:
        """Open the form of a deployment."""
        self.deployment(name)
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_text("Custom run").click()
        self.page.get_by_role("button", name="Submit").wait_for()

    def field(self, title: str) -> Locator:
        """What is written into below a title; fields that may be left out say so behind it."""
        named = f"normalize-space(text())='{title}' or normalize-space(text())='{title} (Optional)'"
        below = "following::*[self::input or self::textarea][1]"
        return self.page.locator(f"xpath=//*[{named}]/{below}").first

    def write(self, title: str, text: str) -> None:
        """As a person types."""
        self.field(title).press_sequentially(text, delay=50)

    def add_item(self, title: str, text: str) -> None:
        """Write another line of a list below a title."""
        titled = f"xpath=//*[starts-with(normalize-space(text()),'{title}')]"
        fields = self.page.locator("input, textarea")
        before = fields.count()
        self.page.locator(f"{titled}/following::button[contains(., 'Add item')][1]").first.click()
        fields.nth(before).wait_for(state="attached")  # else the text goes to the next field
        self.write(title, text)

    def submit(self) -> None:
        """Send the form, and go to the page of the run that it starts."""
        submit = self.page.get_by_role("button", name="Submit")
        made = self._until_sent("POST", "/create_flow_run", submit.click)
        # The list of the deployment's runs is not always drawn anew.
        self.page.goto(f"{self.url}/runs/flow-run/{made['id']}")

    def switch_on_schedule(self) -> None:
        """Of the deployment whose page is open."""
        self._until_sent("PATCH", "/schedules/", self.page.get_by_role("switch").first.click)

    def _until_sent(self, method: str, part: str, act: Callable[[], None]) -> Any:  # noqa: ANN401
        """Act until the page has asked its server for something, and give its answer: a page that
        is still being drawn may lose a click."""
        for _ in range(TRIES):
            try:
                with self.page.expect_response(
                    lambda answer: part in answer.url and answer.request.method == method,
                    timeout=TRY_S * 1000,
                ) as answered:
                    act()
            except TimeoutError:
                continue
            answer = answered.value
            assert answer.ok, f"{method} {part}: {answer.status} {answer.text()[:1000]}"
            return answer.json() if method == "POST" else None
        raise AssertionError(f"the page sent no {method} {part}")

    @property
    def run(self) -> str:
        """The id of the run whose page is open."""
        return self.page.url.partition("/flow-run/")[2].partition("?")[0]

    def wait_for_state(self, name: str) -> None:
        """Until the page of a run shows it, by itself: nobody reloads."""
        self.page.locator(".state-badge").get_by_text(name, exact=True).first.wait_for()

    def tab(self, name: str) -> None:
        self.page.get_by_text(name, exact=True).last.click()


@contextmanager
def opened(url: str, pictures: Path) -> Iterator[PrefectUI]:
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser(), args=list(ARGUMENTS))
        try:
            yield PrefectUI(started.new_page(viewport=SIZE), url, pictures)
        finally:
            started.close()
