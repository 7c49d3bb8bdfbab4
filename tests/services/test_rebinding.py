"""A web page whose own name is pointed at this machine, in a real browser: it neither reads nor steers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

pytest.importorskip("playwright", reason="the pages are tested with playwright: pip install playwright")

from playwright.sync_api import Browser, Page

from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from services.browser import chromium
from services.loopback import served
from services.tiny import TinyRun

pytestmark = pytest.mark.browser

_ASK = """async ([method, path]) => {
  try {
    const answer = await fetch(path, { method });
    return [answer.status, (await answer.arrayBuffer()).byteLength];
  } catch (error) {
    return [0, 0];
  }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as started:
        yield started


@contextmanager
def evil_page(browser: Browser, url: str) -> Iterator[Page]:
    """Open a page of evil.example, whose name points at a service of this machine."""
    page = browser.new_page()
    # Any answer makes a page of that name; what its scripts do is what `evaluate` does below.
    page.goto(f"http://evil.example:{url.rpartition(':')[2]}/bait")
    yield page
    page.close()


@pytest.mark.parametrize("where", ["server", "proxy"])
def test_a_page_that_was_pointed_here_neither_reads_nor_steers(
    browser: Browser, registry: Registry, where: str
) -> None:
    with (
        served(make_server(registry)) as server,
        httpx.Client(base_url=server, trust_env=False, timeout=60) as client,
    ):
        run = TinyRun(client)
        proxy = make_app(Proxy(server, AttackSettings("level-1")))
        with served(proxy, transparent=True) as between:
            with evil_page(browser, server if where == "server" else between) as page:

                def ask(method: str, path: str) -> Any:
                    return page.evaluate(_ASK, [method, run.path + path])

                assert ask("POST", "/pause")[0] in (403, 421)
                assert ask("GET", "/parameters")[0] == 421
                assert ask("GET", "/events")[0] == 421
            assert run.status()["state"] == "waiting"
            run.play(0, 1)
            page = browser.new_page()  # while its own page does both
            page.goto(server if where == "server" else between)
            assert page.evaluate(_ASK, ["GET", f"{run.path}/parameters"])[0] == 200
            assert page.evaluate(_ASK, ["POST", f"{run.path}/pause"])[0] == 200
            page.close()
            assert run.status()["state"] == "paused"
