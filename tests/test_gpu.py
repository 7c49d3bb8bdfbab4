"""The game on a GPU: every player plays, twice with the same bits, captured or not, local or over HTTP.

Without a CUDA device these tests are skipped. `tests/test_program.py` plays the same games on the CPU.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from device_games import Game, played, resumed
from installed_players import VARIANTS

from midstream import plugins
from midstream.mathematics.capturing import switch
from midstream.run.environment import configure

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
NEEDS = {
    "level-k": "level-k,k=2,steps=2",
    "conversion": "conversion,target=1",
    "evasion": "evasion,target=1",
    "deep-confuse": "deep-confuse,epochs=1,surrogate_epochs=1,width=4",
    "atn": "atn,epochs=1,width=4",
    "vae": "vae,epochs=1,width=4",
    "cvae": "cvae,epochs=1,width=4",
    "gan": "gan,epochs=1,width=4",
    "ddpm": "ddpm,epochs=1,width=4,steps=3",
    "cw": "cw,steps=3,searches=2",
}
"""The options that a player needs here, or that keep it quick."""


@pytest.fixture
def device() -> Iterator[torch.device]:
    """Return the GPU, set up as a command does."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device on this machine")
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield configure(threads=None, device="cuda")
    switch(False)
    torch.use_deterministic_algorithms(deterministic)


def every(side: plugins.Kind) -> list[str]:
    """Return all players of a side, with the options that they need."""
    return [NEEDS.get(name, name) for name in plugins.names(side)]


@pytest.mark.parametrize("attacker", every("attackers") + VARIANTS["attackers"])
def test_every_attacker_plays_the_same_game_twice(attacker: str, device: torch.device) -> None:
    assert played(device, attacker, "none") == played(device, attacker, "none")


@pytest.mark.parametrize("defender", every("defenders") + VARIANTS["defenders"])
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
