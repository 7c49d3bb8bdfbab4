"""The small pages of the proxy and the provider: what they say is so, and they can be read."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from midstream import pixels
from midstream.protocol.wire import decode_batch
from midstream.web.status.beside import shown
from midstream.web.status.page import Status, status_page
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.commands import Command
from services.loopback import served, unused_url
from services.recorder import Recorder
from services.tiny import STEPS, TinyRun, problem
from services.waiting import until

ROOT = Path(__file__).parents[2]
EPSILON = 1.5


def status_of(url: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{url}/status.json", trust_env=False).json()
    return found


@contextmanager
def proxied(upstream: str, settings: AttackSettings) -> Iterator[tuple[httpx.Client, Proxy]]:
    proxy = Proxy(upstream, settings)
    with (
        served(make_app(proxy), transparent=True) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        yield client, proxy


def test_the_proxy_tells_how_far_it_moved_a_batch(registry: Registry) -> None:
    recorder = Recorder(make_server(registry))
    with (
        served(recorder) as upstream,
        proxied(upstream, AttackSettings("level-1", EPSILON)) as (client, proxy),
    ):
        assert proxy.activity.status().doing == "waits for a batch to attack"
        run = TinyRun(client)
        run.play(0, 2)
        run.put(1)  # which is remembered, not attacked again
        status = proxy.activity.status()
        run.play(2)
        after = proxy.activity.status().runs[0]
    moved, clean = decode_batch(recorder.batches[1]).inputs, tiny.batch(1).inputs
    (shown,) = status.runs
    assert (shown.run, shown.step, shown.total_steps) == ("tiny", 2, STEPS)
    assert shown.doing == "waits for batch 2 from a provider"
    assert shown.problem is None
    share = (moved - pixels(clean)).flatten(1).norm(dim=1).mean().item() / EPSILON
    assert 0 < share <= 1.0001
    assert shown.facts["mean_move_as_a_share_of_epsilon"] == pytest.approx(share)
    assert shown.facts["batches_attacked_by_this_process"] == 2
    assert status.facts["other_requests_passed_on"] == 1  # the run was started by way of the proxy
    assert (after.step, after.doing) == (STEPS, "all batches were taken")


HESITANT = '''
class Hesitant:
    """Fails at its first move."""

    def __init__(self):
        self.failed = False

    def perturb(self, batch, view):
        if not self.failed:
            self.failed = True
            raise RuntimeError("not yet")
        return 0 * batch.inputs
'''


@pytest.mark.logs_errors
def test_the_proxy_tells_what_stopped_a_batch_until_it_goes_on(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "hesitant.py").write_text(HESITANT)
    attacker = f"{tmp_path}/hesitant.py:Hesitant"
    with (
        served(make_server(registry)) as upstream,
        proxied(upstream, AttackSettings(attacker)) as (client, proxy),
    ):
        run = TinyRun(client)
        problem(run.put(0), 500)
        (stopped,) = proxy.activity.status().runs
        run.play(0, 1)
        (goes_on,) = proxy.activity.status().runs
    assert "The attack failed" in str(stopped.problem)
    assert stopped.doing == "waits for batch 0 again"
    assert goes_on.problem is None
    assert goes_on.step == 1


def test_the_proxy_tells_that_its_server_is_away_until_it_is_back(registry: Registry) -> None:
    with unused_url() as upstream, proxied(upstream, AttackSettings("level-1")) as (client, proxy):
        problem(client.get("/v1/runs"), 502)
        problem(client.put("/v1/runs/tiny/batches/0", content=tiny.body(0)), 502)
        away = proxy.activity.status()
        assert "The training server does not answer" in str(away.problem)
        assert away.runs == []  # nobody says that there is such a run
        with served(make_server(registry), port=int(upstream.rpartition(":")[2])):
            client.get("/v1/runs")
            assert proxy.activity.status().problem is None


def test_a_page_is_only_read() -> None:
    application = status_page(lambda: Status("data provider", "rests"))
    with served(application) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert "rests" in client.get("/").text
        assert client.get("/status.json").json()["doing"] == "rests"
        for path in ("/", "/status.json", "/status.css", "/status.js"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "/status.json" in problem(client.get("/v1/runs"), 404)["detail"]
        assert problem(client.post("/"), 405)


def test_no_page_is_shown_where_no_port_is_named() -> None:
    said: list[str] = []
    with shown(lambda: Status("data provider", "rests"), None, said.append):
        assert said == []


def test_its_colours_are_the_dashboards() -> None:
    def colours(path: str) -> list[str]:
        return re.findall(
            r"--(?:page|panel|text|muted|line|accent|good|alert): #\w+", (ROOT / path).read_text()
        )

    own = colours("shared/midstream/web/status/status.css")
    assert len(own) == 16
    assert own == colours("server/midstream_server/http/page/style.css")


@pytest.mark.process
def test_both_services_show_theirs_at_a_port_of_their_own(registry: Registry, tmp_path: Path) -> None:
    def page_of(service: Command) -> str:
        service.until_it_says("its status page is at ")
        found: str = re.findall(r"its status page is at (\S+)", service.err)[0]
        return found

    with unused_url() as server, unused_url() as proxy:
        ports = [url.rpartition(":")[2] for url in (server, proxy)]
        attack = ("attack", "--server", server, "--port", ports[1], "--threads", "1", "--status-port", "0")
        provide = ("provide", "--server", proxy, "--status-port", "0")
        with Command(tmp_path, *provide) as feeding, Command(tmp_path, *attack) as attacking:
            feeds, attacks = page_of(feeding), page_of(attacking)
            until(lambda: proxy in status_of(feeds)["doing"], "the provider to wait")
            until(lambda: "does not answer" in str(status_of(attacks)["problem"]), "the proxy to say why")
            with (
                served(make_server(registry), port=int(ports[0])) as url,
                httpx.Client(base_url=url) as client,
            ):
                TinyRun(client)
                until(lambda: [run["step"] for run in status_of(attacks)["runs"]] == [STEPS], "the last step")
                assert status_of(attacks)["runs"][0]["facts"]["epsilon"] == EPSILON
                assert feeding.end() == 0
            assert attacking.interrupt() == 0
    assert "KeyboardInterrupt" not in attacking.err + feeding.err
