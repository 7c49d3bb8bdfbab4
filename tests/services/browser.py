"""The dashboard in a real Chromium, and what a test asks of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from services.waiting import LONGEST

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# As root it starts without its sandbox only; the others keep it from asking other hosts for its own ends.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Start the system's Chromium, with further flags; skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("the pages are tested where there is a Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS, *flags])
        yield browser
        browser.close()


class Seen:
    """A page of the server in a window of its own, and everything that it complained of.

    Args:
        browser: from `chromium`.
        url: the server's.
        path: of the page.
        width: of the window, in pixels.
        scheme: light or dark.
    """

    def __init__(
        self, browser: Browser, url: str, path: str = "/", *, width: int = 1200, scheme: Any = "light"
    ) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.context.set_default_timeout(1000 * LONGEST)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: set[str] = set()
        self.page.on("console", lambda said: self._hear(said.type, said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.add(request.url))
        self.page.goto(url + path)

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def card(self, run: str) -> Any:
        """Return a run's card."""
        return self.page.locator(f"[data-run='{run}']")

    def button(self, run: str, action: str) -> Any:
        """Return a button of a run's card, once it can be used."""
        return self.card(run).locator(f"[data-action='{action}'][aria-disabled='false']")

    def until_it_says(self, where: str, words: str) -> None:
        """Return once an element holds some words."""
        self.page.locator(where).filter(has_text=words).first.wait_for(state="attached")

    def until(self, run: str, state: str) -> None:
        """Return once a run's card shows a state."""
        self.page.locator(f"[data-run='{run}'][data-state='{state}']").wait_for()

    def drawn(self, run: str, steps: int) -> dict[str, dict[str, list[float]]]:
        """Return a run's points by chart, once the training loss is drawn up to a step."""
        self.page.wait_for_function(
            "([run, step]) => midstream.drawn().loss[run]?.steps.at(-1) >= step", arg=[run, steps]
        )
        drawn: dict[str, Any] = self.page.evaluate("midstream.drawn()")
        return {chart: runs[run] for chart, runs in drawn.items() if runs}

    def shown(self) -> set[str]:
        """Return the runs that have curves."""
        return set(self.page.evaluate("Object.keys(midstream.drawn().loss)"))


def points(client: httpx.Client, run: str) -> dict[str, dict[str, list[float]]]:
    """Return what the charts should show of a run, from its metrics."""
    epsilon = client.get(f"/v1/runs/{run}").json()["specification"]["epsilon"]
    records = client.get(f"/v1/runs/{run}/metrics").json()["records"]
    for record in records:
        record["correction"] /= epsilon
    names = ["test_accuracy", "validation_accuracy", "correction", "test_loss", "validation_loss", "loss"]
    if any(record["evasion_rate"] is not None for record in records):
        names += ["conversion_rate", "evasion_rate"]
    return {
        name: {
            "steps": [record["step"] for record in records if record[name] is not None],
            "values": [record[name] for record in records if record[name] is not None],
        }
        for name in names
    }
