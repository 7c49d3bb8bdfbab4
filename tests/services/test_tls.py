"""TLS on a real loopback: the right authority, the wrong one, none, and a whole game under tokens."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme

from midstream.web.client import Client, UntrustedServerError
from midstream.web.hosting import Guard
from midstream.web.tls import distrust, trusting
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from services import tiny
from services.answering import Fixed
from services.commands import Command
from services.conftest import Ended
from services.loopback import served, unused_url
from services.tiny import problem

RUNS = Fixed(headers=[(b"content-type", b"application/json")], body=b'{"runs": []}')


class Authority:
    """An authority of one's own, and a service's certificate by it, as files."""

    def __init__(self, folder: Path, *names: str) -> None:
        folder.mkdir()
        authority = trustme.CA()
        issued = authority.issue_cert(*names)
        self.ca, self.certificate, self.key = (folder / name for name in ("ca.pem", "server.pem", "key.pem"))
        authority.cert_pem.write_to_path(self.ca)
        issued.cert_chain_pems[0].write_to_path(self.certificate)
        issued.private_key_pem.write_to_path(self.key)
        self.guard = Guard(certificate=self.certificate, key=self.key)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours", "127.0.0.1")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "theirs", "127.0.0.1")


def runs(url: str, ca: Path | None) -> object:
    client = Client(url, give_up_after=60.0, verify=trusting(ca))
    try:
        return client.runs()
    finally:
        client.close()


def test_the_right_authority(ours: Authority) -> None:
    with served(RUNS, guard=ours.guard) as url:
        assert url.startswith("https://")
        assert runs(url, ours.ca) == []


def test_any_other_is_refused_at_once_with_what_to_do(ours: Authority, theirs: Authority) -> None:
    with served(RUNS, guard=ours.guard) as url:
        for ca in (theirs.ca, None):
            with pytest.raises(UntrustedServerError, match="--ca") as raised:
                runs(url, ca)
            assert url in str(raised.value)


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "elsewhere.example")
    with served(RUNS, guard=other.guard) as url, pytest.raises(UntrustedServerError, match=r"127\.0\.0\.1"):
        runs(url, other.ca)


def test_a_service_that_speaks_no_tls(ours: Authority) -> None:
    with served(RUNS) as url, pytest.raises(UntrustedServerError, match="does not speak TLS"):
        runs(url.replace("http://", "https://"), ours.ca)


def test_a_proxy_that_does_not_trust_its_server_says_so(ours: Authority, theirs: Authority) -> None:
    with served(RUNS, guard=ours.guard) as upstream:
        proxy = Proxy(upstream, AttackSettings("level-1"), verify=trusting(theirs.ca))
        with served(make_app(proxy)) as url, httpx.Client(base_url=url, trust_env=False) as client:
            assert "--ca" in problem(client.get("/v1/runs"), 502)["detail"]
            assert (
                "--ca" in problem(client.put("/v1/runs/tiny/batches/0", content=tiny.body(0)), 502)["detail"]
            )


def test_a_service_that_ends_does_not_wait_for_an_idle_client(ours: Authority) -> None:
    with httpx.Client(verify=trusting(ours.ca), trust_env=False) as client:
        with served(RUNS, guard=ours.guard) as url:
            assert client.get(f"{url}/v1/runs").json() == {"runs": []}
            began = time.monotonic()
        assert time.monotonic() - began < 20  # asyncio waits for 30 s


Midstream = Callable[..., Ended]


def test_files_that_will_not_do(
    midstream: Midstream, ours: Authority, theirs: Authority, tmp_path: Path
) -> None:
    empty, encrypted = tmp_path / "empty.pem", tmp_path / "encrypted.pem"
    empty.touch()
    encrypted.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----\n")
    for words, mention in [
        (["serve", "--certificate", str(empty), "--key", str(ours.key)], "PEM"),
        (["serve", "--certificate", str(ours.certificate), "--key", str(theirs.key)], "private key"),
        (["serve", "--certificate", str(ours.certificate)], "private key"),
        (["attack", "--certificate", str(ours.certificate), "--key", str(encrypted)], "private key"),
        (["attack", "--key", str(ours.key)], "--certificate"),
        (["attack", "--certificate", "missing.pem", "--key", str(ours.key)], "missing.pem"),
        (["provide", "--ca", str(empty)], "no certificate"),
        (["provide", "--ca", "missing.pem"], "missing.pem"),
    ]:
        ended = midstream(*words)
        assert ended.code == 1
        assert mention in ended.err
        assert len(ended.err.splitlines()) == 1


@pytest.mark.process
def test_a_whole_game_over_tls_under_tokens_that_nobody_shows(
    midstream: Midstream, ours: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIDSTREAM_TOKEN", raising=False)
    tokens, provider = tmp_path / "tokens.yaml", tmp_path / "provider.token"
    assert midstream("tokens", str(tokens)).code == 0
    secrets = [line.split()[1] for line in tokens.read_text().splitlines()]
    provider.touch(0o600)
    provider.write_text(tokens.read_text().splitlines()[1])
    shown = ["--certificate", str(ours.certificate), "--key", str(ours.key)]
    with unused_url() as server, unused_url() as proxy:
        ports = [url.rpartition(":")[2] for url in (server, proxy)]
        game = ["--dataset", "digits", "--run", "game", "--epochs", "1", "--batch-size", "500"]
        asking = ["--port", ports[0], "--tokens", str(tokens), "--threads", "1", *shown, *game]
        between = ["--port", ports[1], "--server", f"https://127.0.0.1:{ports[0]}", "--ca", str(ours.ca)]
        with (
            Command(tmp_path, "serve", *asking) as serving,
            Command(tmp_path, "attack", *between, "--threads", "1", *shown) as attacking,
        ):
            serving.until_it_says(f"listening on https://127.0.0.1:{ports[0]}")
            attacking.until_it_says(f"listening on https://127.0.0.1:{ports[1]}")
            url = f"https://127.0.0.1:{ports[1]}"
            distrusted = midstream("provide", "--server", url, "--token-file", str(provider))
            assert distrusted.code == 1
            assert "--ca" in distrusted.err
            trusted = ["--server", url, "--ca", str(ours.ca)]
            stranger = midstream("provide", *trusted)
            assert stranger.code == 1
            assert "--token-file" in stranger.err
            providing = midstream("provide", *trusted, "--token-file", str(provider))
            assert providing.code == 0, providing.err
            assert "all 2 batches" in providing.err
            assert "attacking run 'game'" in attacking.err
            assert serving.interrupt() == attacking.interrupt() == 0
            said = [serving.out, serving.err, attacking.out, attacking.err, providing.err, providing.out]
    folder = (tmp_path / "runs/game").rglob("*")
    said += [path.read_bytes().decode("latin-1") for path in folder if path.is_file()]
    said += [midstream("serve", "--tokens", str(tokens), "--show-config").out]
    said += [midstream("provide", "--token-file", str(provider), "--show-config").out]
    assert not any(secret in text for secret in secrets for text in said)


def test_errors_that_are_each_others_cause_are_looked_through() -> None:
    one, other = ConnectionError("one"), ConnectionError("other")
    one.__context__, other.__cause__ = other, one
    assert distrust(one, "https://127.0.0.1:1") is None
