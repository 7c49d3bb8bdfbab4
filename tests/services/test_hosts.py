"""Who names another host, or asks for another site's page, gets nothing from any of the services."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse

import click
import httpx
import pytest

from midstream.console.service_options import hosts_of
from midstream.web.hosting import Guard
from midstream.web.status.beside import shown
from midstream.web.status.page import Status
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.loopback import served
from services.tiny import TinyRun, problem

WHERE = ["server", "proxy", "status page"]


class Site:
    """One of the services, and where it is."""

    def __init__(self, url: str, path: str) -> None:
        self.url, self.path = url, path
        self.port = url.rpartition(":")[2]

    def get(self, **headers: str) -> httpx.Response:
        return httpx.get(self.url + self.path, headers=headers, trust_env=False)


@pytest.fixture(params=WHERE, scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        if request.param == "status page":
            said: list[str] = []
            stack.enter_context(shown(lambda: Status("data provider", "rests"), 0, said.append))
            yield Site(said[0].rpartition(" ")[2], "/status.json")
            return
        registry = tiny.registry(tmp_path_factory.mktemp("runs"))
        url = stack.enter_context(served(make_server(registry)))
        if request.param == "proxy":
            proxy = make_app(Proxy(url, AttackSettings("level-1")))
            url = stack.enter_context(served(proxy, transparent=True))
        yield Site(url, "/v1/runs")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "8.8.8.8"]
)
def test_another_host_is_refused_by_name(site: Site, host: str) -> None:
    detail = problem(site.get(Host=f"{host}:{site.port}"), 421)["detail"]
    assert repr(host) in detail
    assert f"--allow-host {host}" in detail


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "127.0.0.1", "127.8.8.8", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]"],
)
def test_every_name_of_loopback_is_its_own(site: Site, host: str) -> None:
    for name in (host, f"{host}:{site.port}"):
        assert site.get(Host=name).status_code == 200
        assert site.get(Origin=f"http://{name}").status_code == 200


@pytest.mark.parametrize(
    "host", ["", "a b", "localhost:", "localhost:x", "[::1", "::1]:80", "user@localhost", "a/b"]
)
def test_what_is_no_host_is_400(site: Site, host: str) -> None:
    assert "Host header" in problem(site.get(Host=host), 400)["detail"]


@pytest.mark.parametrize("hosts", [0, 2])
def test_a_request_names_one_host(site: Site, hosts: int) -> None:
    version = b"1.0" if hosts == 0 else b"1.1"  # HTTP/1.1 without one is no request at all
    with socket.create_connection(("127.0.0.1", int(site.port)), timeout=60) as connection:
        head = b"Host: localhost\r\n" * hosts
        connection.sendall(b"GET %s HTTP/%s\r\n%s\r\n" % (site.path.encode(), version, head))
        response = HTTPResponse(connection)
        response.begin()
        assert response.status == 400
        assert response.getheader("Content-Type") == "application/problem+json"


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "https://localhost.evil.example", "file://", "moz-extension://localhost"],
)
def test_a_page_of_another_site_gets_nothing(site: Site, origin: str) -> None:
    assert repr(origin) in problem(site.get(Origin=origin), 403)["detail"]


def test_no_batch_of_another_site_is_attacked(registry: Registry) -> None:
    with (
        served(make_server(registry)) as upstream,
        httpx.Client(base_url=upstream, trust_env=False, timeout=60) as client,
    ):
        run = TinyRun(client)
        proxy = Proxy(upstream, AttackSettings("level-1"))
        with served(make_app(proxy), transparent=True) as url:
            for headers, status in (
                ({"Host": "evil.example"}, 421),
                ({"Origin": "http://evil.example"}, 403),
            ):
                headers = {"Content-Type": "application/msgpack", **headers}
                batch = httpx.put(
                    f"{url}{run.path}/batches/0", content=tiny.body(0), headers=headers, trust_env=False
                )
                problem(batch, status)
            assert proxy.activity.status().runs == []


def test_an_operator_may_allow_further_names(registry: Registry) -> None:
    guard = Guard(hosts=hosts_of("127.0.0.1", ("Server.Lan", "10.0.0.7")))
    with served(make_server(registry), guard=guard) as url:
        for name in ("server.lan", "SERVER.lan.:8000", "10.0.0.7:80", "localhost"):
            assert httpx.get(url, headers={"Host": name}, trust_env=False).status_code == 200
            site = f"https://{name}"
            assert httpx.get(url, headers={"Origin": site}, trust_env=False).status_code == 200
        problem(httpx.get(url, headers={"Host": "other.lan"}, trust_env=False), 421)


def test_a_service_on_all_addresses_has_the_machines_name() -> None:
    assert hosts_of("0.0.0.0", ()) == hosts_of(socket.gethostname(), ())
    assert hosts_of("gpu-box.lan", ("b",)) == {"gpu-box.lan", "b"}


@pytest.mark.parametrize("name", ["http://server", "server:8000", "[::1]", "a b", ""])
def test_what_is_no_name_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(click.UsageError, match="--allow-host"):
        hosts_of("127.0.0.1", (name,))
