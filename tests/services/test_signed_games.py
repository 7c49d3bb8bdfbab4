"""Signed batches: the man in the middle is stopped, the provider that attacks is not."""

import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch

from midstream.protocol.signature import signed
from midstream.protocol.wire import encode_batch
from midstream.run.datasets import Source
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry, Settings
from services import tiny
from services.conftest import Ended
from services.loopback import client_of, served
from services.tiny import STEPS, TinyRun, problem

KEY = bytes(range(32))


@pytest.fixture
def signing(tmp_path: Path) -> Iterator[httpx.Client]:
    """Give a client of a server that takes signed batches alone."""
    settings = Settings(tmp_path, torch.device("cpu"), Source(), signature_key=KEY)
    assert str(KEY) not in repr(settings)
    with client_of(make_server(Registry(settings))) as client:
        yield client


def body(seq: int, *, run: str = "tiny", key: bytes | None = KEY) -> bytes:
    return b"".join(encode_batch(signed(tiny.batch(seq), run=run, key=key)))


def test_only_what_was_signed_is_trained_on(signing: httpx.Client) -> None:
    run = TinyRun(signing)
    before = run.sha256()
    good = signed(tiny.batch(0), run="tiny", key=KEY)
    altered = replace(good, inputs=good.inputs.flip(0))
    for wrong, mention in [
        (body(0, key=None), "no signature"),
        (body(0, key=KEY[::-1]), "altered"),
        (body(0, run="tony"), "altered"),
        (b"".join(encode_batch(altered)), "altered"),
    ]:
        assert mention in problem(run.put(0, wrong), 403)["detail"]
    assert run.sha256() == before
    assert run.status()["step"] == 0
    for seq in range(STEPS):
        assert run.put(seq, body(seq)).status_code == 200
    assert run.until("finished")["step"] == STEPS


@pytest.mark.parametrize("holds", [False, True])
def test_an_attacked_batch_passes_where_its_attacker_holds_the_key(
    signing: httpx.Client, holds: bool
) -> None:
    settings = AttackSettings("level-1", signing_key=KEY if holds else None)
    assert str(KEY) not in repr(settings)
    run = TinyRun(signing)
    with (
        served(make_app(Proxy(str(signing.base_url), settings)), transparent=True) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as through,
    ):
        run.client = through
        answer = run.put(0, body(0))
        if holds:
            assert answer.status_code == 200
        else:
            assert "altered" in problem(answer, 403)["detail"]


def test_a_proxy_that_does_not_attack_lets_a_signature_pass(signing: httpx.Client) -> None:
    run = TinyRun(signing)
    proxy = make_app(Proxy(str(signing.base_url), AttackSettings("none")))
    with served(proxy) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as through:
        run.client = through
        assert run.put(0, body(0)).status_code == 200


Midstream = Callable[..., Ended]
GAME = ["--epochs", "1", "--batch-size", "500", "--train-size", "1000", "--threads", "1", "--json"]


@pytest.mark.process
def test_the_man_in_the_middle_is_stopped(midstream: Midstream, tmp_path: Path) -> None:
    ended = midstream("play", *GAME, "--signed", "provider", "--out", str(tmp_path), "--run", "game")
    assert ended.code == 1
    assert "refused batch 0" in ended.err
    assert "signature does not fit" in ended.err
    assert stat.S_IMODE((tmp_path / "game/signature.key").stat().st_mode) == 0o600


@pytest.mark.process
def test_the_adversarial_provider_is_not(midstream: Midstream, tmp_path: Path) -> None:
    ended = midstream("play", *GAME, "--signed", "attacker", "--out", str(tmp_path), "--run", "game")
    assert ended.code == 0, ended.err
    key = (tmp_path / "game/signature.key").read_bytes()
    for path in (tmp_path / "game").rglob("*.*"):
        if path.is_file() and path.name != "signature.key":
            content = path.read_bytes()
            assert key not in content
            assert key.hex().encode() not in content


def test_in_one_process_there_is_no_way_to_alter_it_on(midstream: Midstream) -> None:
    ended = midstream("play", "--signed", "provider", "--transport", "local")
    assert ended.code == 2
    assert "--transport http" in ended.err
