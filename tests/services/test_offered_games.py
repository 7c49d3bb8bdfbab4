"""What a page may ask of a server that starts games, and what it may not. No process is started here."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner

from midstream.console.scenario import read_settings
from midstream.plugins import Kind, find
from midstream.protocol.messages.games import ATTACKERS, DATASETS, DEFENDERS, AttackerName
from midstream.protocol.specification import Specification
from midstream.protocol.tokens import Tokens
from midstream.web import children
from midstream.web.children import Children
from midstream.web.hosting import Guard
from midstream_server.command import command
from midstream_server.games import playing, processes
from midstream_server.games.playing import GAME, MOST, PlayedGames
from midstream_server.games.processes import Surroundings
from midstream_server.games.scenario import write_scenario
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.hosted import HostedRun
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.loopback import client_of, served
from services.tiny import TinyRun, problem

NOWHERE = Surroundings("http://127.0.0.1:9")


@pytest.fixture
def offering(registry: Registry) -> Iterator[httpx.Client]:
    with client_of(make_app(registry, PlayedGames(registry, NOWHERE))) as client:
        yield client


def test_a_server_starts_no_game_unless_its_operator_said_so(registry: Registry) -> None:
    with client_of(make_app(registry)) as client:
        assert client.get("/v1/games").json() == {"offered": None, "games": []}
        assert "serve --games" in problem(client.post("/v1/games", json={}), 403)["detail"]
        assert not registry.runs


@pytest.mark.parametrize(
    "asked",
    [
        {"attacker": "examples/disguise.py:Disguise"},
        {"attacker": "os:system"},
        {"attacker": "level-1,beta=0.9"},
        {"defender": "level-1+cutmix"},
        {"dataset": "folder:/etc"},
        {"dataset": "../digits"},
        {"model": "os:system"},
        {"epsilon": "1.5"},
        {"epsilon": -1},
        {"epsilon": 0},
        {"seed": 0.5},
        {"seed": -1},
        {"epochs": 0},
        {"epochs": True},
        {"epochs": 10**9},
        {"name": "../run"},
        {"attacker": "none", "defender": "level-1", "compare": True},
    ],
)
def test_nothing_but_listed_names_and_numbers_in_range_is_taken(
    offering: httpx.Client, registry: Registry, asked: dict[str, Any]
) -> None:
    assert problem(offering.post("/v1/games", json=asked), 422)
    assert not registry.runs
    assert offering.get("/v1/games").json()["games"] == []


def test_every_listed_name_is_a_player_or_a_data_set() -> None:
    listed: dict[Kind, tuple[str, ...]] = {
        "attackers": ATTACKERS,
        "defenders": DEFENDERS,
        "datasets": DATASETS,
    }
    for kind, names in listed.items():
        for name in names:
            assert callable(find(kind, name))


def test_only_the_operator_starts_games(registry: Registry) -> None:
    tokens = Tokens({"observer": "the-observers-own", "operator": "the-operators-own"})
    for_its_provider = tokens.further("provider")
    app = make_app(registry, PlayedGames(registry, NOWHERE))
    with served(app, guard=Guard(tokens)) as url:
        for token in ("the-observers-own", for_its_provider):
            headers = {"Authorization": f"Bearer {token}"}
            answer = httpx.post(f"{url}/v1/games", json={}, headers=headers, trust_env=False)
            assert problem(answer, 403)["needed"] == "operator"
        headers = {"Authorization": "Bearer the-operators-own", "Sec-Fetch-Site": "cross-site"}
        answer = httpx.post(f"{url}/v1/games", json={}, headers=headers, trust_env=False)
        assert "another site" in problem(answer, 403)["detail"]
    assert not registry.runs


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "0.0.0.0", "--insecure"], "reached from other machines"),
        (["--require-signature", "key"], "leave one of them out"),
    ],
)
def test_games_are_refused_where_they_would_serve_others_or_could_not_be_played(
    tmp_path: Path, flags: list[str], words: str
) -> None:
    done = CliRunner().invoke(command, ["--games", "--out", str(tmp_path), *flags], standalone_mode=False)
    assert isinstance(done.exception, click.UsageError)
    assert words in str(done.exception)


def test_games_are_refused_on_a_passed_socket_that_other_machines_reach(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        given = ["--games", "--out", str(tmp_path), "--fd", str(listener.fileno())]
        done = CliRunner().invoke(command, given, standalone_mode=False)
        assert listener.fileno() >= 0
    assert isinstance(done.exception, click.UsageError)
    assert "--fd, on 0.0.0.0, is reached from other machines" in str(done.exception)


def test_a_started_game_has_a_name_that_no_folder_has(tmp_path: Path) -> None:
    registry = tiny.registry(tmp_path)
    (tmp_path / "attacked").mkdir()
    games = PlayedGames(registry, NOWHERE)
    assert games._taken("attacked")
    assert not games._taken("attacked-2")


def test_a_restarted_server_says_which_games_nobody_plays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first cannot be started, and the last is one too many."""
    registry, said, started = tiny.registry(tmp_path), list[str](), list[str]()

    def start(run: HostedRun, *_: object) -> Children:
        if not run.name.endswith("0"):
            started.append(run.name)
            return Children(tmp_path)
        raise OSError("no process can be started")

    monkeypatch.setattr(playing, "started", start)
    for number in range(MOST + 2):
        run = registry.create(Specification.model_validate({**tiny.SPECIFICATION, "name": f"game-{number}"}))
        run.recorded.folder.write_json(GAME, {"attacker": "noise"})
    games = PlayedGames(registry, NOWHERE, said.append)
    with client_of(make_app(registry, games)) as client:
        assert [game["run"] for game in client.get("/v1/games").json()["games"]] == started
    assert started == ["game-1", "game-2", "game-3"]
    assert said[0] == "run 'game-0': nobody plays it, no process can be started"
    assert said[1].startswith("run 'game-4': nobody plays it, since 3 games are played")


def test_the_scenario_of_a_game_keeps_the_name_of_its_data_folder(tmp_path: Path) -> None:
    registry = tiny.registry(tmp_path)
    with client_of(make_app(registry)) as client:
        TinyRun(client)
        options = ("--data-root", "010", "--threads", "1", "--show-clean")
        path = write_scenario(registry.runs["tiny"], "noise", options=options)
    assert read_settings(path).items() >= {"data-root": "010", "threads": "1", "attacker": "noise"}.items()
    assert "show-clean" not in read_settings(path)


@pytest.mark.process
@pytest.mark.parametrize("attacker", ["none", "noise"])
def test_the_processes_import_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attacker: AttackerName
) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('it was imported')\n")
    registry, started = tiny.registry(tmp_path), list[dict[str, str]]()

    def start(command: list[str], *, env: dict[str, str], **_: object) -> SimpleNamespace:
        assert command[1:3] == ["-m", "midstream.command.main"]
        started.append(env)
        return SimpleNamespace()

    monkeypatch.setattr(children, "subprocess", SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL))
    with client_of(make_app(registry)) as client:
        TinyRun(client)
        processes.started(registry.runs["tiny"], attacker, NOWHERE)
    assert len(started) == 1 + (attacker != "none")
    path = os.pathsep.join(path for path in sys.path if path != str(tmp_path))
    for env in started:
        command = [sys.executable, "-m", "midstream.command.main", "--version"]
        done = subprocess.run(
            command, cwd=tmp_path, env=env | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert "version" in done.stdout, done.stderr
