"""Games that are started from the dashboard, with their real processes."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from midstream.command.main import cli
from midstream.console.scenario import read_values
from midstream.protocol.tokens import Tokens
from midstream.web.hosting import Guard
from midstream_server.games.playing import PlayedGames
from midstream_server.games.processes import Surroundings
from midstream_server.http.app import make_app
from midstream_server.runs.recovery.resuming import left_behind
from services import tiny
from services.browser import Seen, chromium
from services.loopback import served
from services.waiting import until

pytestmark = pytest.mark.process


@contextmanager
def playing(folder: Path, port: int) -> Iterator[tuple[httpx.Client, PlayedGames]]:
    """Serve as `serve --games` with tokens does, and go on with what another server left."""
    registry = tiny.registry(folder, show_clean=True)
    registry.take_up(left_behind(folder))
    tokens = Tokens({"operator": "the-operators-own"})
    around = Surroundings(
        f"http://127.0.0.1:{port}", tokens.further("provider"), (), ("--threads", "1", "--show-clean")
    )
    games = PlayedGames(registry, around)
    headers = {"Authorization": "Bearer the-operators-own"}
    with (
        served(make_app(registry, games), guard=Guard(tokens), port=port) as url,
        httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client,
    ):
        yield client, games


def run(client: httpx.Client, name: str) -> Any:
    return client.get(f"/v1/runs/{name}").json()


def game(client: httpx.Client) -> Any:
    return client.get("/v1/games").json()["games"][0]


def test_a_game_that_lost_its_attacker_says_so_and_goes_on_after_a_restart(tmp_path: Path, port: int) -> None:
    with playing(tmp_path, port) as (client, games):
        asked = {"attacker": "level-1", "defender": "level-1", "epochs": 3, "seed": 1, "epsilon": 1.0}
        assert client.post("/v1/games", json=asked).json() == {"runs": ["defended"]}
        until(lambda: run(client, "defended")["step"] >= 1, "a first step")
        found = run(client, "defended")
        assert found["attacker"].startswith("level-1")
        assert found["specification"]["epsilon"] == 1.0
        client.post("/v1/runs/defended/pause")
        assert found["clean"]
        assert client.get("/v1/runs/defended/samples/0/clean").content.startswith(b"\x89PNG")
        children = games._games[0].children
        os.kill(children._children["attacker"].pid, signal.SIGKILL)
        until(lambda: not game(client)["playing"], "its processes to end")
        assert "its attacker ended with exit code -9" in game(client)["problem"]
        assert children.ended().keys() == {"attacker", "provider"}
    with playing(tmp_path, port) as (client, games):
        assert client.post("/v1/runs/defended/resume").json()["state"] == "running"
        until(lambda: run(client, "defended")["state"] == "finished", "the end of the game")
        until(lambda: not game(client)["playing"], "its processes to end")
        assert game(client)["problem"] is None
        assert run(client, "defended")["result"]["passed_clean"] == {"attacker": 0, "defender": 0}
        assert not list(tmp_path.glob("*/attack-*.sqlite"))
        assert {"attacker": "level-1", "epsilon": 1.0, "seed": 1}.items() <= read_values(
            tmp_path / "defended/scenario.yaml"
        ).items()
        shown = CliRunner().invoke(cli, ["play", str(tmp_path / "defended/scenario.yaml"), "--show-config"])
        assert shown.exit_code == 0, shown.output
        assert "the-operators-own" not in (tmp_path / "defended/provider.log").read_text()


@pytest.mark.browser
def test_a_game_is_started_from_the_page_and_its_processes_end_with_it(tmp_path: Path, port: int) -> None:
    with playing(tmp_path, port) as (client, games), chromium() as browser:
        seen = Seen(browser, f"http://127.0.0.1:{port}")
        seen.page.get_by_label("Token", exact=True).fill("the-operators-own")
        seen.page.get_by_label("Token", exact=True).press("Enter")
        form = seen.page.locator("#start")
        form.get_by_label("Attacker").select_option("noise")
        form.get_by_label("Defender").select_option("none")
        assert form.get_by_label("Budget").input_value() == "1.5"
        form.get_by_label("Seed").fill("7")
        form.get_by_label("Epochs").fill("1")
        form.get_by_role("button", name="Start this game").press("Enter")
        seen.until_it_says("#message", "Started attacked.")
        seen.until("attacked", "finished")
        status = run(client, "attacked")
        assert status["specification"]["seed"] == 7
        assert status["total_steps"] == status["steps_per_epoch"]
        assert status["attacker"].startswith("noise")
        form.get_by_role("button", name="Start three to compare").click()
        seen.until_it_says("#message", "choose an attacker and a defender")
        until(lambda: not game(client)["playing"], "its processes to end")
        assert games._games[0].children.ended().keys() == {"attacker", "provider"}
        seen.context.close()
