"""Whole games above level 1: each comes to its end, and over HTTP to the same bits as in one process."""

from pathlib import Path

import pytest
from installed_players import VARIANTS, installed

from midstream_server.runs.hosting.registry import Registry
from services.games import in_one_process, over_http

pytestmark = pytest.mark.slow

ATTACKERS, DEFENDERS = (
    [chosen.text for chosen in installed(side) if chosen.text not in VARIANTS[side]] for side in VARIANTS
)
PAIRS = [
    (ATTACKERS[i % len(ATTACKERS)], DEFENDERS[i % len(DEFENDERS)])
    for i in range(max(len(ATTACKERS), len(DEFENDERS)))
]


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


@pytest.mark.parametrize(("attacker", "defender"), PAIRS)
def test_every_installed_name_plays_to_the_same_bits_over_http(
    registry: Registry, tmp_path: Path, attacker: str, defender: str
) -> None:
    local = in_one_process(tmp_path / "local", attacker, defender)
    assert over_http(registry, attacker, defender)["parameters_sha256"] == local["parameters_sha256"]
