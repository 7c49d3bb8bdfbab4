"""Tokens at the door of real services: who gets in, who does not, and what is never said.

The commands play under tokens in test_tls.py.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from midstream.protocol.tokens import ROLES, Role, Tokens
from midstream.web.hosting import Guard
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.loopback import served
from services.tiny import SPECIFICATION, TinyRun, problem

TOKENS: dict[Role, str] = {role: f"{role}-with-a-secret" for role in ROLES}
GUARD = Guard(Tokens(TOKENS))
STRANGERS: dict[str, list[tuple[bytes, bytes]]] = {
    "nothing": [],
    "an empty token": [(b"Authorization", b"Bearer")],
    "a guess": [(b"Authorization", b"Bearer guessed-by-a-stranger")],
    "another scheme": [(b"Authorization", b"Basic " + TOKENS["operator"].encode())],
    "a token alone": [(b"Authorization", TOKENS["operator"].encode())],
    "bytes": [(b"Authorization", b"Bearer \xff\xfe")],
}


def shown(role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


@contextmanager
def client(url: str, headers: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as opened:
        yield opened


@pytest.fixture
def guarded(registry: Registry) -> Iterator[str]:
    """Give the URL of a server that asks for tokens."""
    with served(make_server(registry), guard=GUARD) as url:
        yield url


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_gets_nothing_but_signs_of_life(guarded: str, stranger: str, registry: Registry) -> None:
    with httpx.Client(base_url=guarded, trust_env=False, timeout=60) as asking:
        headers = STRANGERS[stranger]
        for path in ("/health/live", "/health/ready", "/", "/docs", "/page/dashboard.js", "/openapi.json"):
            assert asking.get(path, headers=headers).status_code == 200
        for method, path in [
            ("GET", "/v1/runs"),
            ("GET", "/metrics"),
            ("GET", "/health/live/../../v1/runs"),
            ("GET", "/health/live/"),
            ("GET", "/v1/events"),
            ("GET", "/page"),
            ("POST", "/page/dashboard.js"),
            ("POST", "/health/live"),
            ("POST", "/v1/runs"),
            ("PUT", "/v1/runs/tiny/batches/0"),
            ("DELETE", "/v1/runs/tiny"),
        ]:
            answer = asking.request(method, path, headers=headers, json=SPECIFICATION)
            detail = problem(answer, 401)["detail"]
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert "--token-file" in detail
            assert not any(token in answer.text for token in (*TOKENS.values(), "guessed"))
    assert registry.runs == {}


@pytest.mark.parametrize("path", [b"/page/../v1/runs", b"/page/%2e%2e/v1/runs", b"/page/..%2fv1/runs"])
@pytest.mark.parametrize("above", [b"", b"/../..", b"//etc/passwd"])
def test_the_pages_files_are_no_way_round_the_door(guarded: str, path: bytes, above: bytes) -> None:
    host, port = guarded.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = b"Host: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(b"GET %s%s HTTP/1.1\r\n%s" % (path, above, head))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[1] == b"404"
    assert b'"runs"' not in answer


def test_two_tokens_in_one_request_are_refused_at_both_doors(guarded: str, registry: Registry) -> None:
    headers = [("Authorization", f"Bearer {TOKENS[role]}") for role in ROLES]
    with client(guarded, shown("operator")) as operator:
        run = TinyRun(operator)
    proxy = Proxy(guarded, AttackSettings("level-1"))
    with served(make_app(proxy), transparent=True) as url:
        for door in (guarded, url):
            refused = httpx.get(f"{door}/v1/runs", headers=headers, trust_env=False)
            assert "two Authorization headers" in problem(refused, 400)["detail"]
            batch = httpx.put(
                f"{door}{run.path}/batches/0", content=tiny.body(0), headers=headers, trust_env=False
            )
            problem(batch, 400)
        assert proxy.activity.status().runs == []  # nothing was attacked for it
    assert registry.find("tiny").version == 0


def test_each_role_does_what_it_may_and_no_more(guarded: str) -> None:
    with (
        client(guarded, shown("observer")) as observer,
        client(guarded, shown("provider")) as provider,
        client(guarded, shown("operator")) as operator,
    ):
        for role, asking in zip(ROLES, (observer, provider, operator), strict=True):
            assert asking.get("/v1/role").json() == {"role": role}
            assert asking.get("/v1/runs").json() == {"runs": []}
        for asking in (observer, provider):
            refused = problem(asking.post("/v1/runs", json=SPECIFICATION), 403)
            assert refused["needed"] == "operator"
        run = TinyRun(operator)
        path = f"{run.path}/batches/0"
        refused = problem(observer.put(path, content=tiny.body(0)), 403)
        assert refused["needed"] == "provider"
        assert "observer" in refused["detail"]
        assert run.status()["step"] == 0
        headers = {"Content-Type": "application/msgpack"}
        assert provider.put(path, content=tiny.body(0), headers=headers).status_code == 200
        problem(provider.post(f"{run.path}/stop"), 403)
        run.play(1)
        assert operator.post(f"{run.path}/checkpoint").status_code == 200


def test_without_tokens_everyone_is_an_operator(server: httpx.Client) -> None:
    assert server.get("/v1/role").json() == {"role": "operator"}


def test_a_proxy_shows_the_providers_token_and_needs_none(guarded: str, tmp_path: Path) -> None:
    with served(make_server(tiny.registry(tmp_path / "open"))) as url, client(url, {}) as unguarded:
        expected = _attacked(url, unguarded)
    proxy = Proxy(guarded, AttackSettings("level-1"))
    with (
        served(make_app(proxy), transparent=True) as url,
        client(url, shown("operator")) as operator,
        client(url, shown("provider")) as provider,
        client(url, shown("observer")) as observer,
    ):
        run = TinyRun(operator)
        run.client = provider
        run.play(0, 3)
        # Whoever may not send a batch does not have it attacked, either: the attacker would remember.
        for headers in STRANGERS.values():
            answer = httpx.put(
                f"{url}{run.path}/batches/3", content=tiny.body(3), headers=headers, trust_env=False
            )
            problem(answer, 401)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        run.client = observer
        assert problem(run.put(3), 403)["needed"] == "provider"
        run.client = provider
        run.play(3)
        assert run.sha256() == expected


def _attacked(upstream: str, direct: httpx.Client) -> str:
    run = TinyRun(direct)
    proxy = Proxy(upstream, AttackSettings("level-1"))
    with served(make_app(proxy), transparent=True) as url, client(url, {}) as through:
        run.client = through
        run.play(0)
        return run.sha256()


def test_a_proxy_with_tokens_of_its_own_asks_for_them(server: httpx.Client) -> None:
    proxy = Proxy(str(server.base_url), AttackSettings("none"))
    with served(make_app(proxy), guard=GUARD, transparent=True) as url:
        problem(httpx.get(f"{url}/v1/runs", trust_env=False), 401)
        assert httpx.get(f"{url}/v1/runs", headers=shown("observer"), trust_env=False).status_code == 200
