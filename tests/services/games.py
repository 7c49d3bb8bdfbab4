"""The tiny run played whole, in one process and over HTTP."""

import json
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner

from midstream.command.main import cli
from midstream_proxy.app import Proxy, make_app
from midstream_proxy.attack import AttackSettings
from midstream_server.http.app import make_app as make_server
from midstream_server.runs.hosting.registry import Registry
from services.loopback import served
from services.tiny import SPECIFICATION, STEPS, TinyRun


def in_one_process(folder: Path, attacker: str, defender: str, **settings: Any) -> dict[str, Any]:
    """Play the tiny run as `midstream play --transport local` does; return the outcome.

    Settings of the specification are put in place of `SPECIFICATION`'s.
    """
    words = ["play", "--attacker", attacker, "--defender", defender, "--out", str(folder)]
    for name, value in (SPECIFICATION | settings).items():
        words += ["--run" if name == "name" else f"--{name}".replace("_", "-"), str(value)]
    words += ["--transport", "local", "--device", "cpu", "--threads", "1", "--json"]
    played = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert played.exit_code == 0, played.output
    outcome: dict[str, Any] = json.loads(played.stdout)
    assert (outcome["attacker"], outcome["defender"], outcome["steps"]) == (attacker, defender, STEPS)
    return outcome


def over_http(
    registry: Registry, attacker: str, defender: str, gradient: Any = "server", **settings: Any
) -> dict[str, Any]:
    """Play the tiny run between a provider, a proxy and a server; return the result."""
    with served(make_server(registry)) as upstream:
        proxy = Proxy(
            upstream, AttackSettings(attacker, gradient=gradient, allowed=registry.settings.allowed)
        )
        with (
            served(make_app(proxy), transparent=True) as url,
            httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
        ):
            run = TinyRun(client, defender=defender, **settings)
            run.play(0)
            result: dict[str, Any] = run.until("finished")["result"]
            return result
