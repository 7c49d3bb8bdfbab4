"""Players that learn before the game, over HTTP: with patience, to the same bits, and through a restart."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from learners import Held

from midstream_server.http.app import make_app, wake
from midstream_server.runs.hosting.registry import Registry
from midstream_server.runs.recovery.resuming import left_behind
from services import tiny
from services.games import in_one_process, over_http
from services.loopback import client_of
from services.tiny import STEPS, TinyRun, problem
from services.waiting import until

pytestmark = pytest.mark.slow

CONSTANT, FROM_TRAIN, HELD = (f"learners:{name}" for name in ("Constant", "FromTrain", "Held"))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    names = ("Constant", "FromTrain", "Held", "Broken")
    allowed = frozenset(f"learners:{name}" for name in names)
    return tiny.registry(tmp_path / "runs", allowed=allowed, cache=tmp_path / "cache")


@pytest.fixture
def held() -> Iterator[None]:
    Held.let.clear()
    yield
    Held.let.set()


@pytest.mark.parametrize("defender", ["none", CONSTANT])
@pytest.mark.parametrize("attacker", ["none", CONSTANT, FROM_TRAIN])
def test_over_http_it_is_the_same_game(
    registry: Registry, tmp_path: Path, attacker: str, defender: str
) -> None:
    local = in_one_process(tmp_path / "local", attacker, defender)
    assert over_http(registry, attacker, defender)["parameters_sha256"] == local["parameters_sha256"]


def test_a_run_says_that_it_waits_for_its_defender(server: httpx.Client, held: None) -> None:  # noqa: ARG001
    run = TinyRun(server, defender=HELD)
    words = "its defender, which learns before the game: Held learns, loss"
    until(lambda: words in str(run.status()["waiting_for"]), "the defender to learn")
    until(lambda: "step 3 of 20" in str(run.status()["waiting_for"]), "three steps")
    refused = problem(run.put(0), 503)
    assert words in refused["detail"]
    assert "Held learns" in server.get("/health/ready").json()["waiting_for"]
    Held.let.set()
    run.play(0)
    assert run.until("finished")["step"] == STEPS


def test_a_server_that_ends_meanwhile_goes_on_with_it(
    registry: Registry,
    tmp_path: Path,
    held: None,  # noqa: ARG001
) -> None:
    with client_of(make_app(registry)) as client:
        run = TinyRun(client, defender=HELD)
        until(lambda: "step 3 of 20" in str(run.status()["waiting_for"]), "three steps")
        wake(registry)
        Held.let.set()
    said: list[str] = []
    again = Registry(registry.settings, said.append)
    again.take_up(left_behind(registry.settings.out))
    with client_of(make_app(again)) as client:
        run = TinyRun.found(client)
        run.play(0)
        sha256 = run.until("finished")["result"]["parameters_sha256"]
    assert any("continuing from step" in text for text in said)
    local = in_one_process(tmp_path / "local", "none", CONSTANT)
    assert sha256 == local["parameters_sha256"]  # Held learns as Constant does


def test_a_killed_server_plays_on_with_what_its_defender_learned(registry: Registry, tmp_path: Path) -> None:
    with client_of(make_app(registry)) as client:
        run = TinyRun(client, defender=CONSTANT)
        run.play(0, 3)
    again = Registry(registry.settings)
    again.take_up(left_behind(registry.settings.out))
    with client_of(make_app(again)) as client:
        run = TinyRun.found(client)
        run.play(3)
        sha256 = run.until("finished")["result"]["parameters_sha256"]
    assert sha256 == in_one_process(tmp_path / "local", "none", CONSTANT)["parameters_sha256"]


def test_a_defender_that_cannot_learn_ends_the_run_and_is_named(server: httpx.Client) -> None:
    run = TinyRun(server, defender="learners:Broken")
    reason = run.until("failed")["reason"]
    assert "defender 'learners:Broken' could not learn before the game: 'no idea'" in reason


@pytest.mark.logs_errors
def test_an_attacker_that_cannot_learn_is_named(registry: Registry) -> None:
    with pytest.raises(AssertionError, match="attacker 'learners:Broken' could not learn before the game"):
        over_http(registry, "learners:Broken", "none")
