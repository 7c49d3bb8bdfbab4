"""A proxy that is started again: the same bytes for what comes again, the same attacker for what follows."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from midstream_proxy.app import Proxy, make_app
from midstream_server.http.app import make_app as make_server
from services import attacked, tiny
from services.attacked import LEVEL_1, Served, client_at, undisturbed
from services.loopback import served
from services.tiny import STEPS, TinyRun, problem

pytestmark = pytest.mark.slow


@pytest.fixture
def on_a_server(tmp_path: Path) -> Iterator[Served]:
    with attacked.on_a_server(tmp_path, defender="level-1") as found:
        yield found


def test_a_proxy_for_every_batch_comes_to_the_same_parameters(on_a_server: Served, tmp_path: Path) -> None:
    for seq in range(STEPS):
        with on_a_server.attacked() as run:
            run.play(seq, seq + 1)
            fingerprint = run.sha256()
    assert fingerprint == undisturbed(tmp_path, LEVEL_1, defender="level-1")


def test_a_batch_that_comes_again_has_the_very_same_bytes(on_a_server: Served) -> None:
    with on_a_server.attacked() as run:
        run.play(0, 4)  # the fourth is the first that the attacker has seen before
    with on_a_server.attacked() as run:
        assert [run.put(seq).json()["replay"] for seq in (3, 1)] == [True, True]
    first, again = on_a_server.recorder.batches[3], on_a_server.recorder.batches[4]
    assert first == again


def test_an_attack_that_was_begun_otherwise_is_refused_by_name(on_a_server: Served) -> None:
    with on_a_server.attacked() as run:
        run.play(0, 1)
    other = replace(LEVEL_1, attacker="level-1,beta=0.5")
    with on_a_server.attacked(other) as run:
        found = problem(run.put(1), 409)
        assert "attacker level-1,beta=0.9, here level-1,beta=0.5" in found["detail"]
        assert "--resume-anyway" in found["detail"]
    with on_a_server.attacked(other, resume_anyway=True) as run:
        run.play(1, 2)


def test_what_is_remembered_of_another_run_of_that_name_is_forgotten(
    on_a_server: Served, tmp_path: Path
) -> None:
    with on_a_server.attacked() as run:
        run.play(0)
    said: list[str] = []
    registry = tiny.registry(tmp_path / "second")
    with served(make_server(registry)) as upstream, client_at(upstream) as client:
        TinyRun(client, defender="level-1")
        with replace(on_a_server, upstream=upstream).attacked(say=said.append) as run:
            run.play(0)
            assert run.sha256() == undisturbed(tmp_path, LEVEL_1, defender="level-1")
    assert any("another run of that name" in text for text in said)


def test_a_damaged_memory_is_refused_and_set_aside_only_where_that_is_asked_for(
    on_a_server: Served, tmp_path: Path
) -> None:
    with on_a_server.attacked() as run:
        run.play(0, 1)
    path = tmp_path / "attacks/attack-tiny.sqlite"
    path.write_bytes(b"no database at all" * 500)
    with on_a_server.attacked() as run:
        found = problem(run.put(1), 409)
        assert str(path) in found["detail"]
        assert "--resume-anyway" in found["detail"]
    said: list[str] = []
    with on_a_server.attacked(say=said.append, resume_anyway=True) as run:
        run.play(1, 2)
    assert any("attack-tiny.sqlite.damaged-1" in text for text in said)
    assert path.with_name("attack-tiny.sqlite.damaged-1").exists()


def test_a_server_that_is_away_while_the_attacker_reads_is_waited_for(tmp_path: Path) -> None:
    app, away = (
        make_server(tiny.registry(tmp_path / "runs")),
        [b"/validation-gradient/1", b"/validation-gradient/3"],
    )

    async def sometimes_away(scope: Any, receive: Any, send: Any) -> None:
        for path in away:
            if scope["type"] == "http" and scope["raw_path"].endswith(path):
                away.remove(path)
                await send({"type": "http.response.start", "status": 503, "headers": []})
                await send({"type": "http.response.body"})
                return
        await app(scope, receive, send)

    with served(sometimes_away) as upstream, client_at(upstream) as client:
        TinyRun(client, defender="none")
        proxy = Proxy(upstream, LEVEL_1, out=tmp_path / "attacks")
        with served(make_app(proxy), transparent=True) as url, client_at(url) as through:
            run = TinyRun.found(through)
            answers = []
            while run.status()["step"] < STEPS:
                answers.append(run.put(run.status()["step"]).status_code)
            assert answers == [200, 503, 200, 200, 503, 200, 200, 200]
            fingerprint = run.sha256()
    assert undisturbed(tmp_path, LEVEL_1) == fingerprint
