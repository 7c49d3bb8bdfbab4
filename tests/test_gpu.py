"""The game on a GPU: every player plays, twice with the same bits, captured or not, local or over HTTP.

Without a CUDA device these tests are skipped. `python -m pytest -m gpu --device cpu` plays the same games on
a CPU, with a stand-in for CUDA graphs that repeats the operations that it recorded.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from device_games import Game, played, resumed
from installed_players import Side, installed
from recorded_graph import replaying
from short_games import FITTING, alone, ends, plan, together

from midstream.command.games.game import GamePlan
from midstream.command.games.local_pipeline import LocalPipeline
from midstream.mathematics.graphs.capturing import switch
from midstream.run.process.environment import configure

pytestmark = pytest.mark.gpu

CAPTURED = [
    ("level-1", "level-1"),
    ("level-1", "none"),
    ("none", "level-1"),
    ("level-1,at=memory,blend=whole", "level-1"),
    ("level-2-closed-form", "level-2-closed-form"),
    ("influence,max_iterations=3", "influence,max_iterations=3"),
    ("conversion,target=3", "level-1+cutmix"),
]


@pytest.fixture
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Return the device, set up as a command does."""
    name = request.config.getoption("device")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device on this machine; --device cpu plays the same games on the CPU")
    deterministic = torch.are_deterministic_algorithms_enabled()
    with replaying(monkeypatch) if name == "cpu" else nullcontext():
        yield configure(threads=None, device=name)
    switch(True)
    torch.use_deterministic_algorithms(deterministic)


def every(side: Side) -> list[str]:
    """Return all players of a side, with options that keep them quick."""
    return [chosen.text for chosen in installed(side)]


@pytest.mark.parametrize("attacker", every("attackers"))
def test_every_attacker_plays_the_same_game_twice(attacker: str, device: torch.device) -> None:
    assert played(device, attacker, "none") == played(device, attacker, "none")


@pytest.mark.parametrize("defender", every("defenders"))
def test_every_defender_plays_the_same_game_twice(defender: str, device: torch.device) -> None:
    assert played(device, "level-1", defender) == played(device, "level-1", defender)


@pytest.mark.parametrize(("attacker", "defender"), CAPTURED)
def test_a_captured_game_ends_in_the_bits_of_one_that_is_not(
    attacker: str, defender: str, device: torch.device, caplog: pytest.LogCaptureFixture
) -> None:
    called = played(device, attacker, defender, steps=6)
    assert played(device, attacker, defender, steps=6, capture=True) == called
    assert "captured" not in caplog.text  # nothing fell back to being called


def test_a_captured_step_is_replayed(device: torch.device) -> None:
    switch(True)
    game = Game(device)
    for _ in range(5):
        game.step()
    programs = [*game.run.programs.all(), *game.attacked.programs.all()]
    assert {program.graphs > 0 for program in programs} == {True}


def test_a_game_that_goes_on_ends_in_the_same_bits(device: torch.device) -> None:
    one, other = resumed(device)
    assert one == other


@pytest.mark.parametrize(("attacker", "defender"), FITTING)
def test_steps_captured_whole_end_in_the_bits_of_called_ones(
    attacker: str, defender: str, device: torch.device, tmp_path: Path
) -> None:
    called, *_ = ends(plan(tmp_path / "called", attacker, defender, device=device), capture=False)
    assert ends(plan(tmp_path / "captured", attacker, defender, device=device)) == (called, 7, True)


@pytest.mark.parametrize("settings", [{"optimizer": "sgd"}, {"precision": "bfloat16"}, {"precision": "tf32"}])
def test_so_do_those_of_other_optimizers_and_precisions(
    settings: dict[str, Any], device: torch.device, tmp_path: Path
) -> None:
    if settings.get("precision") == "tf32" and device.type != "cuda":
        pytest.skip("tf32 is for CUDA")
    called, *_ = ends(plan(tmp_path / "called", device=device, **settings), capture=False)
    assert ends(plan(tmp_path / "captured", device=device, **settings)) == (called, 7, True)


def test_a_captured_game_that_was_interrupted_ends_in_the_same_bits(
    device: torch.device, tmp_path: Path
) -> None:
    undisturbed, *_ = ends(plan(tmp_path / "one", device=device))
    with LocalPipeline(plan(tmp_path / "two", device=device), lambda *_: None) as game:
        for step in game.steps():
            if step.seq == 4:
                break
    assert ends(plan(tmp_path / "two", device=device))[0] == undisturbed


def test_games_side_by_side_end_in_the_bits_of_games_alone(device: torch.device, tmp_path: Path) -> None:
    def games(out: Path) -> dict[str, GamePlan]:
        return {
            "coarse": plan(out / "coarse", device=device, precision="bfloat16"),
            "fine": plan(out / "fine", device=device),
            "by links": plan(out / "links", "influence,max_iterations=2", "none", device=device),
        }

    found = {name: alone(game) for name, game in games(tmp_path / "alone").items()}
    assert together(games(tmp_path / "together"), device)[0] == found


@pytest.mark.process
@pytest.mark.parametrize("capture", ["--capture", "--no-capture"])
def test_a_local_game_ends_in_the_bits_of_one_over_http(
    capture: str, device: torch.device, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "midstream.command.main", "play", "--device", str(device), capture]
    settings = ["--attacker", "level-1", "--defender", "level-1", "--max-steps", "12", "--json"]
    found = []
    for transport in ("local", "http"):
        out = ["--transport", transport, "--out", str(tmp_path / transport)]
        ended = subprocess.run([*command, *settings, *out], check=True, capture_output=True, text=True)
        found.append(json.loads(ended.stdout)["parameters_sha256"])
    assert all(one == other for one, other in pairwise(found))
