"""Whole games above level 1: each comes to its end, and over HTTP to the same bits as in one process."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from midstream.command.main import cli
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.app import make_app as make_server
from midstream_server.registry import Registry
from services.loopback import served
from services.tiny import SPECIFICATION, STEPS, TinyRun


def in_one_process(folder: Path, attacker: str, defender: str) -> dict[str, Any]:
    """Play the tiny run as `midstream play --transport local` does; return the outcome."""
    words = ["play", "--attacker", attacker, "--defender", defender, "--out", str(folder)]
    for name, value in SPECIFICATION.items():
        words += ["--run" if name == "name" else f"--{name}".replace("_", "-"), str(value)]
    words += ["--transport", "local", "--device", "cpu", "--threads", "1", "--json"]
    played = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert played.exit_code == 0, played.output
    outcome: dict[str, Any] = json.loads(played.stdout)
    assert (outcome["attacker"], outcome["defender"], outcome["steps"]) == (attacker, defender, STEPS)
    return outcome


def over_http(registry: Registry, attacker: str, defender: str, gradient: Any) -> dict[str, Any]:
    """Play the tiny run between a provider, a proxy and a server; return the result."""
    with served(make_server(registry)) as upstream:
        proxy = Proxy(upstream, AttackSettings(attacker, gradient=gradient))
        with (
            served(make_app(proxy), transparent=True) as url,
            httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
        ):
            run = TinyRun(client, defender=defender)
            run.play(0)
            result: dict[str, Any] = run.until("finished")["result"]
            return result


def test_they_come_to_their_end_and_differ(tmp_path: Path) -> None:
    pairs = [
        ("level-2", "none"),
        ("level-2", "level-2"),
        ("level-3", "level-2,steps=4"),
        ("level-2-closed-form", "level-2-closed-form"),
        ("level-1", "level-2-closed-form"),
        ("level-1", "level-1"),
    ]
    ends = {
        pair: in_one_process(tmp_path / str(number), *pair)["parameters_sha256"]
        for number, pair in enumerate(pairs)
    }
    assert len(set(ends.values())) == len(pairs)
    one_step = in_one_process(tmp_path / "one", "level-2,steps=1", "level-5,steps=1")
    assert one_step["parameters_sha256"] == ends["level-1", "level-1"]  # a whole game long


@pytest.mark.parametrize("gradient", ["server", "own"])
@pytest.mark.parametrize("level", ["level-2", "level-2-closed-form"])
def test_over_http_they_are_the_same_games(
    registry: Registry, tmp_path: Path, level: str, gradient: str
) -> None:
    local = in_one_process(tmp_path / "local", level, level)
    assert over_http(registry, level, level, gradient)["parameters_sha256"] == local["parameters_sha256"]
