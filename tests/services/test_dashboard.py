"""The dashboard in a real browser: what it draws is what the resources say, and its buttons act."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

pytest.importorskip("playwright", reason="the pages are tested with playwright: pip install playwright")

from playwright.sync_api import Browser

from midstream.protocol.tokens import ROLES, Role, Tokens
from midstream.protocol.wire import encode_batch
from midstream.web.hosting import OPEN, Guard
from midstream_server.http.app import make_app, wake
from midstream_server.runs.hosting.registry import Registry
from midstream_server.runs.recovery.resuming import left_behind
from services import tiny
from services.browser import Seen, chromium, points
from services.loopback import client_of, served
from services.tiny import STEPS, TinyRun
from services.waiting import until

pytestmark = pytest.mark.browser

TOKENS: dict[Role, str] = {role: f"{role}-with-a-secret" for role in ROLES}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


class Site:
    """A server that ends as `midstream serve` does, and a client of it."""

    def __init__(self, registry: Registry, *, guard: Guard = OPEN, port: int = 0) -> None:
        self.registry = registry
        self._served = served(make_app(registry), guard=guard, port=port)

    def __enter__(self) -> "Site":
        self.url = self._served.__enter__()
        headers = {"Authorization": f"Bearer {TOKENS['operator']}"}
        self.client = httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=60)
        return self

    def __exit__(self, *error: Any) -> None:
        self.client.close()
        wake(self.registry)
        self._served.__exit__(*error)


def taken_up(folder: Path, port: int = 0) -> Site:
    """Return a server that goes on with what another left in a folder."""
    registry = tiny.registry(folder)
    registry.take_up(left_behind(folder))
    return Site(registry, port=port)


@pytest.fixture
def site(registry: Registry) -> Iterator[Site]:
    with Site(registry) as opened:
        yield opened


def test_what_is_drawn_is_what_the_metrics_say(browser: Browser, site: Site) -> None:
    clean, defended = TinyRun(site.client), TinyRun(site.client, name="defended", defender="level-1")
    clean.play(0)
    defended.play(0, 4)
    clean.until("finished")
    defended.until_recorded(4)
    seen = Seen(browser, site.url)
    assert seen.drawn("tiny", STEPS) == points(site.client, "tiny")
    assert seen.drawn("defended", 4) == points(site.client, "defended")
    assert 0 < seen.drawn("defended", 4)["correction"]["values"][0] <= 1.001
    assert seen.card("tiny").locator(".state").inner_text() == "finished"
    accuracy = f"{100 * clean.status()['test_accuracy']:.1f} %"
    assert accuracy in seen.card("tiny").inner_text()
    chart = seen.page.locator("[data-chart=test_accuracy]")
    assert f"tiny {accuracy}" in str(chart.get_attribute("aria-label"))
    assert not seen.complaints
    assert {url for url in seen.asked if not url.startswith((site.url, f"blob:{site.url}"))} == set()
    seen.context.close()


def test_steps_are_drawn_as_they_come_and_runs_can_be_hidden(browser: Browser, site: Site) -> None:
    seen = Seen(browser, site.url)
    seen.until_it_says("#connection", "Live")
    assert seen.page.locator("#no-runs").is_visible()
    run = TinyRun(site.client)
    seen.until("tiny", "waiting")
    assert not seen.page.locator("#no-runs").is_visible()
    seen.until_it_says(".waits", "waits for batch 0 from a data provider")
    for seq in range(STEPS):
        run.play(seq, seq + 1)
        assert seen.drawn("tiny", seq + 1)["loss"] == points(site.client, "tiny")["loss"]
    seen.until("tiny", "finished")
    assert seen.drawn("tiny", STEPS) == points(site.client, "tiny")
    TinyRun(site.client, name="other")
    seen.until("other", "waiting")
    seen.page.get_by_role("checkbox", name="tiny").uncheck()
    seen.page.wait_for_function("() => !('tiny' in midstream.drawn().loss)")
    assert seen.shown() == {"other"}
    seen.page.get_by_role("checkbox", name="tiny").check()
    assert seen.drawn("tiny", STEPS) == points(site.client, "tiny")
    assert not seen.complaints
    seen.context.close()


def test_a_targets_rates_have_curves_and_players_reports_stand_on_the_card(
    browser: Browser, site: Site
) -> None:
    run = TinyRun(site.client, target=3, defender="optimal-contraction")
    run.play(0)
    run.until("finished")
    seen = Seen(browser, site.url)
    drawn = seen.drawn("tiny", STEPS)
    assert drawn == points(site.client, "tiny")
    assert drawn["evasion_rate"]["steps"] == [3, 6]
    said = run.until_recorded(STEPS)[-1]["defender"]
    name, value = next(iter(said.items()))
    first = seen.card("tiny").locator(".reports").inner_text().split(",")[0]
    assert first.startswith(f"defender: {name.replace('_', ' ')} ")
    assert float(first.split()[-1]) == float(f"{value:.3g}")
    assert not seen.complaints
    seen.context.close()


def test_another_task_has_curves_and_a_headline_of_its_own(browser: Browser, site: Site) -> None:
    run = TinyRun(site.client, dataset="digit-traits")
    for seq in range(STEPS):
        own = tiny.batch(seq)
        labels = torch.stack([own.labels % 2 == 0, own.labels > 4] * 2, dim=1).float()
        content = b"".join(encode_batch(replace(own, labels=labels)))

        def taken(seq: int = seq, content: bytes = content) -> bool:
            return run.put(seq, content).status_code == 200

        until(taken, f"batch {seq} to be taken")
    measures = run.until("finished")["measures"]
    seen = Seen(browser, site.url)
    seen.until("tiny", "finished")
    seen.page.wait_for_function("() => midstream.drawn().test_average_precision.tiny?.values.length === 2")
    assert seen.page.locator("[data-chart=test_average_precision]").is_visible()
    assert not seen.page.locator("[data-chart=test_accuracy]").is_visible()
    card = seen.card("tiny").inner_text()
    assert "test mean average precision" in card.lower()
    assert f"{100 * measures['test_average_precision']:.1f} %" in card
    assert not seen.complaints
    seen.context.close()


def test_a_checkers_findings_have_curves_and_stand_on_the_card(browser: Browser, site: Site) -> None:
    run = TinyRun(site.client, checker="loss,threshold=0.5")
    run.play(0)
    run.until("finished")
    seen = Seen(browser, site.url)
    drawn = seen.drawn("tiny", STEPS)
    found = [record["checker"] for record in run.until_recorded(STEPS)]
    assert drawn["suspicion"]["values"] == [one["suspicion"] for one in found]
    assert drawn["flagged"]["values"] == [one["flagged"] for one in found]
    assert f"flagged {found[-1]['flagged']:g}" in seen.card("tiny").locator(".reports").inner_text()
    assert "checker loss,threshold=0.5" in seen.card("tiny").locator(".about").last.inner_text()
    assert not seen.complaints
    seen.context.close()


def test_that_a_player_failed_stands_on_the_card(browser: Browser, tmp_path: Path) -> None:
    defender = f"{Path(__file__).parents[1] / 'faulty_players.py'}:Breaks"
    with Site(tiny.registry(tmp_path / "runs", allowed=frozenset({defender}))) as site:
        run = TinyRun(site.client, defender=defender, on_error="pass-clean")
        run.play(0)
        run.until("finished")
        seen = Seen(browser, site.url)
        seen.drawn("tiny", STEPS)
        told = seen.card("tiny").locator(".reports").inner_text()
        assert told == "the defender failed at 1 of 6 batches, which were passed on unchanged"
        assert not seen.complaints
        seen.context.close()


def test_a_run_that_was_set_aside_stands_beside_the_others(browser: Browser, tmp_path: Path) -> None:
    with client_of(make_app(tiny.registry(tmp_path))) as client:
        TinyRun(client).play(0, 1)
        TinyRun(client, name="damaged").play(0, 1)
    (tmp_path / "damaged/specification.json").write_text("{")
    with taken_up(tmp_path) as site:
        seen = Seen(browser, site.url)
        seen.until("damaged", "failed")
        assert "specification.json is damaged" in seen.card("damaged").inner_text()
        seen.until_it_says("#connection", "Live")
        assert seen.card("tiny").locator(".state").inner_text() == "running"
        TinyRun.found(site.client).play(1)
        assert seen.drawn("tiny", STEPS) == points(site.client, "tiny")


def test_who_plays_where_and_what_it_costs(browser: Browser, site: Site) -> None:
    """Nothing attacks these batches; their sender says so, and the page tells the story of who said what."""
    TinyRun(site.client, name="scheduled", schedule="cosine").play(0)  # trained otherwise, so not compared
    for name, attacker, defender in (
        ("clean", None, "none"),
        ("attacked", "<b>level-1</b> · ε 1.5 l2", "none"),
        ("defended", "<b>level-1</b> · ε 1.5 l2", "level-1"),
    ):
        TinyRun(site.client, name=name, defender=defender).play(0, attacker=attacker)
    seen = Seen(browser, site.url, "/#explain&run=defended&hide=clean")
    seen.until_it_says("#pipeline [data-place='attacker']", "<b>level-1</b> · ε 1.5 l2")
    seen.until_it_says("#pipeline [data-place='defender']", "level-1 · ε 1.5 l2")
    seen.until_it_says("[data-run='attacked'] .story", "The attack has cost 0.0 points by step 6")
    seen.until_it_says("[data-run='attacked'] .story", "in clean.")
    seen.until_it_says("[data-run='defended'] .story", "Of the 0.0 points that the attack costs by step 6")
    assert seen.card("clean").locator(".story").inner_text() == ""
    assert seen.shown() == {"attacked", "defended", "scheduled"}
    assert seen.page.get_by_text("That is no mistake").is_visible()
    seen.page.get_by_label("Explain").uncheck()
    assert not seen.page.get_by_text("That is no mistake").is_visible()
    seen.page.locator("#pipeline-run").select_option("clean")
    seen.until_it_says("#pipeline [data-place='attacker']", "none has announced itself")
    seen.page.wait_for_function("location.hash == '#hide=clean&run=clean'")
    seen.page.locator("[data-place='model'] summary").click()
    assert seen.page.get_by_text("a step of adam, learning rate 0.0008").is_visible()
    assert not seen.complaints
    seen.context.close()


def test_pictures_of_the_newest_or_of_a_chosen_batch(browser: Browser, site: Site) -> None:
    run = TinyRun(site.client)
    run.play(0)
    run.until("finished")
    seen = Seen(browser, site.url)
    picture = seen.page.get_by_alt_text("Examples of batch 3 of run tiny")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalHeight)") > 100
    guesses = run.get("/samples/3/predictions").json()
    lines = seen.page.locator("#pictures li").all_inner_texts()
    assert lines == [
        f"{label}: x′ {received}, x″ {defended}"
        for label, received, defended in zip(
            guesses["labels"], guesses["received"], guesses["defended"], strict=True
        )
    ]
    seen.page.get_by_label("Batch").press("ArrowLeft")
    seen.page.get_by_alt_text("Examples of batch 0 of run tiny").wait_for()
    assert not seen.complaints
    seen.context.close()


def test_a_chart_is_read_by_keyboard(browser: Browser, site: Site) -> None:
    run = TinyRun(site.client)
    run.play(0, 3)
    losses = [f"{record['loss']:.3f}" for record in run.until_recorded(3)]
    seen = Seen(browser, site.url)
    seen.drawn("tiny", 3)
    chart = seen.page.locator("[data-chart=loss]")
    for key, step in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        chart.press(key)
        said = f"Training loss, nats per example, step {step}: tiny {losses[step - 1]}"
        seen.until_it_says("#reading", said)
    seen.context.close()


def test_the_buttons_act_and_stop_asks_first(browser: Browser, site: Site) -> None:
    run = TinyRun(site.client)
    run.play(0, 1)
    seen = Seen(browser, site.url)
    seen.button("tiny", "pause").press("Enter")
    seen.until("tiny", "paused")
    assert run.status()["state"] == "paused"
    seen.until_it_says(".waits", "waits for its operator to resume it")
    seen.button("tiny", "resume").press("Enter")
    seen.until("tiny", "running")
    seen.button("tiny", "checkpoint").click()
    seen.until_it_says("#message", "Checkpoint of tiny at step 1: ")
    seen.button("tiny", "stop").click()
    seen.page.get_by_role("button", name="Keep running").press("Enter")
    seen.page.get_by_role("dialog").wait_for(state="hidden")
    assert run.status()["state"] == "running"
    seen.button("tiny", "stop").click()
    seen.page.get_by_role("button", name="Stop the run").click()
    seen.until("tiny", "stopped")
    assert run.status()["state"] == "stopped"
    seen.until_it_says(".waits", "stopped by its operator at step 1")
    assert seen.button("tiny", "pause").count() == 0
    assert not seen.complaints
    seen.context.close()


def test_a_token_is_asked_for_and_decides_what_can_be_done(browser: Browser, registry: Registry) -> None:
    with Site(registry, guard=Guard(Tokens(TOKENS))) as site:
        TinyRun(site.client).play(0, 2)
        seen = Seen(browser, site.url)
        token = seen.page.get_by_label("Token", exact=True)
        seen.until_it_says("#connection", "Waiting for a token")
        assert not seen.complaints
        assert not seen.card("tiny").count()
        token.fill("guessed-by-a-stranger")
        token.press("Enter")
        seen.until_it_says("#token-problem", "not one of its own")
        token.fill(TOKENS["observer"])
        token.press("Enter")
        seen.drawn("tiny", 2)
        seen.until_it_says("#role", "observer")
        assert seen.button("tiny", "pause").count() == 0
        seen.page.reload()
        seen.drawn("tiny", 2)  # with the token that was kept
        seen.page.get_by_role("button", name="Token…").click()
        token.fill(TOKENS["operator"])
        token.press("Enter")
        seen.button("tiny", "pause").click()
        seen.until("tiny", "paused")
        assert len(seen.complaints) == 1  # the guess
        assert "401" in seen.complaints[0]
        seen.context.close()


def test_it_goes_on_by_itself_when_the_server_is_back(browser: Browser, tmp_path: Path, port: int) -> None:
    with Site(tiny.registry(tmp_path), port=port) as site:
        run = TinyRun(site.client)
        run.play(0, 4)
        run.until_recorded(4)
        seen = Seen(browser, site.url)
        seen.drawn("tiny", 4)
    seen.until_it_says("#connection", "No connection to the server since")
    assert seen.button("tiny", "pause").count() == 0
    with taken_up(tmp_path) as elsewhere:  # out of the page's sight
        TinyRun.found(elsewhere.client).play(4, 5)
    with taken_up(tmp_path, port=port) as again:
        seen.until_it_says("#connection", "Live")
        seen.until_it_says(".waits", "waits for batch 5 from a data provider")
        TinyRun.found(again.client).play(5)
        assert seen.drawn("tiny", STEPS) == points(again.client, "tiny")
        seen.until("tiny", "finished")
    assert all("ERR_" in complaint for complaint in seen.complaints)  # of the requests that nobody answered
    seen.context.close()


def test_a_long_history_is_drawn_from_what_the_server_thinned(browser: Browser, site: Site) -> None:
    run = TinyRun(site.client)
    run.play(0, 3)
    recorded = site.registry.find("tiny").recorded
    last = run.until_recorded(3)[-1] | {"correction": 0.5}
    empty = last | {name: None for name in last if name.startswith(("test_", "validation_"))}
    recorded.records[:] = [
        (last if step % 5000 == 0 else empty) | {"step": step} for step in range(1, 100_001)
    ]
    recorded.records[76_543]["loss"] = 99.0
    seen = Seen(browser, site.url)
    drawn = seen.drawn("tiny", 100_000)
    assert len(drawn["loss"]["steps"]) <= 2020
    assert 99.0 in drawn["loss"]["values"]
    assert drawn["test_loss"]["steps"] == list(range(5000, 100_001, 5000))
    seen.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
@pytest.mark.parametrize("path", ["/", "/docs"])
def test_it_fits_the_window(browser: Browser, site: Site, width: int, scheme: str, path: str) -> None:
    TinyRun(site.client, name="a-name-as-long-as-a-name-may-be" + "-and-longer" * 6).play(0, 3)
    seen = Seen(browser, site.url, path, width=width, scheme=scheme)
    seen.page.locator(".card, .operation").first.wait_for()
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"dark": "rgb(17, 22, 29)", "light": "rgb(246, 247, 249)"}[scheme]
    assert not seen.complaints
    seen.context.close()


def test_the_list_of_resources_shows_each(browser: Browser, site: Site) -> None:
    seen = Seen(browser, site.url, "/docs")
    seen.page.locator(".operation").first.wait_for()
    document = site.client.get("/openapi.json").json()
    expected = [f"{method} {path}" for path, methods in document["paths"].items() for method in methods]
    found = seen.page.locator("#operations .operation").evaluate_all("found => found.map(one => one.id)")
    assert sorted(found) == sorted(expected)
    seen.page.get_by_text("The run's history").click()
    seen.page.get_by_text("peaks and troughs").wait_for()
    assert not seen.complaints
    assert {url for url in seen.asked if not url.startswith(site.url)} == set()
    seen.context.close()


def test_a_page_of_another_site_steers_nothing(browser: Browser, site: Site, tmp_path: Path) -> None:
    run = TinyRun(site.client)
    with Site(tiny.registry(tmp_path / "other")) as other:
        seen = Seen(browser, other.url.replace("127.0.0.1", "localhost"), "/health/live")
        send = "url => fetch(url, {method: 'POST', mode: 'no-cors'}).then(() => 'sent')"
        assert seen.page.evaluate(send, f"{site.url}{run.path}/stop") == "sent"
        seen.context.close()
    assert run.status()["state"] == "waiting"
    refused = tiny.problem(site.client.post(f"{run.path}/stop", headers={"Sec-Fetch-Site": "same-site"}), 403)
    assert "another site" in refused["detail"]


def test_the_pages_allow_this_origin_alone(site: Site) -> None:
    for path in ("/", "/docs", "/page/dashboard.js", "/page/vendor/uPlot.esm.js", "/page/style.css"):
        answer = site.client.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'; script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "unsafe" not in site.client.get("/").headers["Content-Security-Policy"]
    assert tiny.problem(site.client.get("/page/nothing.js"), 404)
