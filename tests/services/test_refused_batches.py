"""A batch that the server did not take: the attacker goes on as if it had never come."""

from pathlib import Path
from typing import Any

import pytest

from midstream.players.referee import state_of
from midstream.protocol.wire import decode_batch
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.surrogates.surrogate import SurrogateSettings
from midstream_proxy.white_box import AttackedRun
from midstream_server.http.app import make_app as make_server
from services import tiny
from services.attacked import (
    EVOSHIFT,
    LEVEL_1,
    Served,
    client_at,
    counting,
    on_a_server,
    other_body,
    undisturbed,
)
from services.games import in_one_process
from services.loopback import served
from services.recorder import Recorder
from services.small_games import training
from services.tiny import TinyRun, problem

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("attack", [EVOSHIFT, LEVEL_1, AttackSettings("evoshift,fraction=0.5")])
def test_other_content_under_the_last_number_changes_nothing(attack: AttackSettings, tmp_path: Path) -> None:
    with on_a_server(tmp_path) as found, found.attacked(attack) as run:
        run.play(0, 4)
        refused = problem(run.put(3, other_body(3)), 409)
        assert refused["next_seq"] == 4
        run.play(4)
        assert run.sha256() == undisturbed(tmp_path, attack)
        assert problem(run.put(5, other_body(5)), 409)["next_seq"] == 6


@pytest.mark.parametrize("attack", [EVOSHIFT, LEVEL_1])
def test_other_content_for_a_paused_run_changes_nothing(attack: AttackSettings, tmp_path: Path) -> None:
    with on_a_server(tmp_path) as found, found.attacked(attack) as run:
        run.play(0, 3)
        run.post("/pause")
        problem(run.put(3, other_body(3)), 503)
        problem(run.put(3), 503)
        problem(run.put(3, other_body(3)), 503)
        run.post("/resume")
        run.play(3)
        assert run.sha256() == undisturbed(tmp_path, attack)
    batches = [body for body in found.recorder.batches if decode_batch(body).seq == 3]
    assert batches[1] == batches[3]  # paused and taken
    assert batches[0] == batches[2]


def test_a_black_box_attacker_forgets_what_was_refused_too(tmp_path: Path) -> None:
    surrogate = SurrogateSettings(epochs=1, train_size=10, cache=tmp_path / "cache")
    attack = AttackSettings("evoshift", surrogate=surrogate)
    with on_a_server(tmp_path, access="black-box") as found, found.attacked(attack) as run:
        run.play(0, 3)
        problem(run.put(2, other_body(2)), 409)
        run.post("/pause")
        problem(run.put(3, other_body(3)), 503)
        run.post("/resume")
        run.play(3)
        run.until("finished")
    attacked = found.recorder.batches[-3:]
    with on_a_server(tmp_path / "undisturbed", access="black-box") as again, again.attacked(attack) as run:
        run.play(0)
    assert attacked == again.recorder.batches[-3:]


@pytest.mark.logs_errors
def test_of_two_contents_the_one_that_was_taken_counts(tmp_path: Path) -> None:
    """Its acknowledgement is lost; then other content comes, through another process."""
    recorder = Recorder(make_server(tiny.registry(tmp_path / "runs")))
    lost: list[int] = []

    async def cut(scope: Any, receive: Any, send: Any) -> None:
        async def nothing(_: Any) -> None:
            if lost:
                raise ConnectionError("the answer is lost")

        deaf = scope["type"] == "http" and scope["method"] == "PUT" and scope["raw_path"].endswith(b"/2")
        if deaf and not lost:
            lost.append(1)
            await recorder(scope, receive, nothing)
        else:
            await recorder(scope, receive, send)

    with served(cut) as upstream, client_at(upstream) as client:
        TinyRun(client)
        found = Served(upstream, recorder, tmp_path)
        with found.attacked(EVOSHIFT) as run:
            run.play(0, 2)
            run.put(2)
            assert run.status()["step"] == 3
            problem(run.put(2, other_body(2)), 409)
            left = found.crashed("crashed")
        with found.attacked(EVOSHIFT, memory=left) as run:
            problem(run.put(2, other_body(2)), 409)
            run.play(3)
            assert run.sha256() == undisturbed(tmp_path, EVOSHIFT)


@pytest.mark.logs_errors
@pytest.mark.parametrize("at", [0, 2])
def test_a_plug_in_that_fails_is_as_it_was_before(at: int, tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    attack = AttackSettings(counting(tmp_path, fails_at=at, unless=mended))
    with on_a_server(tmp_path) as found, found.attacked(attack) as run:
        run.play(0, at)
        for _ in range(3):
            assert "out of ideas" in problem(run.put(at), 500)["detail"]
        mended.touch()
        run.play(at)
        assert run.sha256() == undisturbed(tmp_path, attack)


def test_a_game_with_a_plug_in_that_fails_at_its_first_batch_is_the_same_over_http(tmp_path: Path) -> None:
    attacker = counting(tmp_path, fails_at=0)
    local = in_one_process(tmp_path / "local", attacker, "none", on_error="pass-clean")
    attack = AttackSettings(attacker, on_error="pass-clean")
    with on_a_server(tmp_path, on_error="pass-clean") as found, found.attacked(attack) as run:
        run.play(0)
        result = run.until("finished")["result"]
    assert result["parameters_sha256"] == local["parameters_sha256"]
    assert result["passed_clean"] == {"attacker": 1, "defender": 0}


def test_what_it_counted_of_that_batch_is_forgotten(tmp_path: Path) -> None:
    settings = AttackSettings(counting(tmp_path, fails_at=0), on_error="pass-clean")
    attacked = AttackedRun(LocalGame(training()), settings)
    for _ in range(2):
        assert attacked.attack(tiny.batch(0)).report == {"passed_clean": 1}
    assert state_of(attacked.player) == {"count": 0}
    attacked.attack(tiny.batch(1), version=0)
    assert state_of(attacked.player) == {"count": 1}
