"""What a page may ask of a server that starts games, and what it may not. No process is started here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner

from midstream.plugins import Kind, find
from midstream.protocol.messages.games import ATTACKERS, DATASETS, DEFENDERS
from midstream.protocol.tokens import Tokens
from midstream.web.hosting import Guard
from midstream_server.command import command
from midstream_server.games.playing import PlayedGames
from midstream_server.games.processes import Surroundings
from midstream_server.http.app import make_app
from midstream_server.runs.hosting.registry import Registry
from services import tiny
from services.loopback import client_of, served
from services.tiny import problem

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


def test_a_started_game_has_a_name_that_no_folder_has(tmp_path: Path) -> None:
    registry = tiny.registry(tmp_path)
    (tmp_path / "attacked").mkdir()
    games = PlayedGames(registry, NOWHERE)
    assert games._taken("attacked")
    assert not games._taken("attacked-2")
