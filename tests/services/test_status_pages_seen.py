"""The small pages of the proxy and the provider in a real browser."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

pytest.importorskip("playwright", reason="the pages are tested with playwright: pip install playwright")

from playwright.sync_api import Browser

from midstream.web.status.page import RunStatus, Status, status_page
from services.browser import Seen, chromium
from services.loopback import served
from services.tiny import STEPS

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


class Telling:
    """A service of which a test decides what it tells."""

    def __init__(self) -> None:
        self.status = Status("attacker proxy", "waits for a batch to attack", {"attacker": "level-1"})

    def shows(self, doing: str, step: int, *, run: str = "tiny", wrong: str | None = None) -> None:
        runs = [RunStatus(run, doing, step, STEPS, {"seconds_an_attack": 0.25}, wrong)]
        self.status = replace(self.status, runs=runs)


def test_a_page_follows_its_service_and_waits_for_it_to_come_back(browser: Browser, port: int) -> None:
    telling = Telling()
    page = status_page(lambda: telling.status)
    with served(page, port=port) as url:
        seen = Seen(browser, url)
        seen.until_it_says("#connection", "Live")
        seen.until_it_says("main", "waits for a batch to attack")
        telling.shows("attacks <batch> 2", 2)
        seen.until_it_says("[data-run=tiny] .doing", "attacks <batch> 2")
        assert seen.page.get_by_role("progressbar", name=f"2 batches done of {STEPS}").count() == 1
        assert seen.page.get_by_role("region", name="run tiny").count() == 1
        assert not seen.complaints
    seen.until_it_says("#connection", "No connection since")
    telling.shows("waits for batch 3 again", 3, wrong="12:00:00: The attack failed: not yet")
    with served(page, port=port):
        seen.until_it_says("#connection", "Live")
        seen.until_it_says("[data-run=tiny] .problem", "not yet")
        seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_url("**/status.json")
    assert all("ERR_" in complaint for complaint in seen.complaints)
    assert {asked for asked in seen.asked if not asked.startswith((url, "data:"))} == set()
    seen.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
def test_a_page_fits_the_window(browser: Browser, width: int, scheme: str) -> None:
    telling = Telling()
    telling.shows("waits", 1, run="a-name-as-long-as-a-name-may-be" + "-and-longer" * 6, wrong="no" * 99)
    with served(status_page(lambda: telling.status)) as url:
        seen = Seen(browser, url, width=width, scheme=scheme)
        seen.page.locator(".card").wait_for()
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"dark": "rgb(17, 22, 29)", "light": "rgb(246, 247, 249)"}[scheme]
        assert not seen.complaints
        seen.context.close()
