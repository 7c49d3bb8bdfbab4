"""The dashboard for those who use a keyboard or a screen reader, on a phone and on a large screen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the pages are tested with playwright: pip install playwright")
pytest.importorskip("axe_playwright_python", reason="axe-core: pip install axe-playwright-python")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from midstream.mathematics.inputs.pixels import pixels
from midstream.storage.attacked import clean_folder
from midstream_proxy.clean import CleanPictures
from midstream_server.games.playing import PlayedGames
from midstream_server.games.processes import Surroundings
from midstream_server.http.app import make_app, wake
from services import tiny
from services.browser import Seen, chromium
from services.loopback import client_of
from services.tiny import STEPS, TinyRun

pytestmark = pytest.mark.browser

CONTROLS = "button, input, select, a[href], summary, [tabindex='0']"
ACTIVE = "document.activeElement"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server that offers games and shows clean examples, with a finished run and one that waits."""
    registry = tiny.registry(tmp_path, show_clean=True)
    offering = PlayedGames(registry, Surroundings("http://127.0.0.1:9"))
    with client_of(make_app(registry, offering)) as client:
        run = TinyRun(client, defender="level-1", target=3)
        run.play(0, attacker="level-1 · ε 1.5 l2")
        run.until("finished")
        for seq in (0, 3):
            clean = pixels(tiny.batch(seq).inputs)
            CleanPictures(clean_folder(tmp_path / "tiny", "tiny"), 3).note(seq, clean, clean)
        TinyRun(client, name="waits")
        yield str(client.base_url).rstrip("/")
        wake(registry)  # so that the page's stream of events ends


def whole(browser: Browser, url: str, width: int, scheme: str) -> Seen:
    """Return the page with everything that it can show."""
    seen = Seen(browser, url, "/#explain", width=width, scheme=scheme)
    seen.drawn("tiny", STEPS)
    seen.until_it_says("#mistakes figcaption", f"tiny, step {STEPS}")
    seen.page.get_by_alt_text("The same examples before the attack").wait_for()
    seen.page.locator("#start-section").wait_for()
    return seen


def faults(page: Page) -> list[Any]:
    """Return what axe-core finds, with the elements that have the fault."""
    found = Axe().run(page).response["violations"]
    return [(one["impact"], one["id"], [node["html"] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
def test_axe_finds_no_fault(browser: Browser, url: str, width: int, scheme: str) -> None:
    seen = whole(browser, url, width, scheme)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    for summary in seen.page.locator("#pipeline summary").all():
        summary.click()
    assert faults(seen.page) == []
    seen.button("waits", "stop").click()
    assert faults(seen.page) == []
    assert not seen.complaints
    seen.context.close()


def test_axe_finds_no_fault_in_the_list_of_resources(browser: Browser, url: str) -> None:
    seen = Seen(browser, url, "/docs", width=360)
    seen.page.locator(".operation").first.wait_for()
    assert faults(seen.page) == []
    seen.page.evaluate("document.documentElement.removeAttribute('lang')")
    assert [name for _, name, _ in faults(seen.page)] == ["html-has-lang"]
    seen.context.close()


def test_every_control_is_reached_and_used_by_keyboard(browser: Browser, url: str) -> None:
    seen = whole(browser, url, 1200, "light")
    page = seen.page
    unreached = set(
        page.locator(CONTROLS).evaluate_all(
            "found => found.filter(one => one.checkVisibility() && !one.disabled)"
            ".map((one, place) => one.dataset.mark = String(place))"
        )
    )
    assert len(unreached) > 30
    for _ in range(len(unreached)):
        page.keyboard.press("Tab")
        mark, outline = page.evaluate(f"[{ACTIVE}.dataset.mark, getComputedStyle({ACTIVE}).outlineStyle]")
        assert outline == "solid", page.evaluate(f"{ACTIVE}.outerHTML")
        unreached.discard(mark)
    assert unreached == set()
    page.locator("[data-place='attacker'] summary").press("Enter")
    assert page.get_by_text("the parameters θ and the validation gradient v").is_visible()
    page.get_by_label("Explain").press("Space")
    assert not page.get_by_text("That is no mistake").is_visible()
    page.locator("#pipeline-run").press("ArrowDown")
    seen.until_it_says("#pipeline-status", "waits for batch 0")
    page.get_by_role("checkbox", name="waits").press("Space")
    page.wait_for_function("() => !('waits' in midstream.drawn().loss)")
    seen.button("waits", "stop").press("Enter")
    page.keyboard.press("Escape")
    page.locator("#stop-dialog").wait_for(state="hidden")
    assert page.evaluate(f"{ACTIVE}.dataset.action") == "stop"
    page.locator("#start-defender").press("ArrowUp")
    assert page.locator("#start-defender").input_value() == "cutmix"
    page.locator("#start-seed").press("ArrowUp")
    assert page.locator("#start-seed").input_value() == "1"
    page.get_by_role("button", name="Token").press("Enter")
    page.get_by_role("button", name="Cancel").press("Enter")
    assert not seen.complaints
    seen.context.close()
