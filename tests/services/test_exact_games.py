"""Games along the exact utility: to the same bits over HTTP and in one process, with either optimizer."""

from pathlib import Path

import pytest

from midstream_server.runs.hosting.registry import Registry
from services.games import in_one_process, over_http

pytestmark = pytest.mark.slow

PAIRS = [
    ("level-1,utility=exact,lookahead=2", "none"),
    ("level-2,utility=exact,steps=2", "level-1,utility=exact"),
    ("level-1", "level-2,utility=exact,steps=2"),
]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("attacker", "defender"), PAIRS)
def test_over_http_they_are_the_same_games(
    registry: Registry, tmp_path: Path, attacker: str, defender: str, optimizer: str
) -> None:
    local = in_one_process(tmp_path / "local", attacker, defender, optimizer=optimizer)
    served = over_http(registry, attacker, defender, optimizer=optimizer)
    assert served["parameters_sha256"] == local["parameters_sha256"]


def test_each_is_a_game_of_its_own(tmp_path: Path) -> None:
    attackers = ["level-1", *(f"level-1,utility=exact,lookahead={n}" for n in (0, 1, 3))]
    ends = {
        in_one_process(tmp_path / str(number), attacker, "none")["parameters_sha256"]
        for number, attacker in enumerate(attackers)
    }
    assert len(ends) == len(attackers)


def test_a_lookahead_past_the_end_of_the_run_stops_there(tmp_path: Path) -> None:
    ends = [
        in_one_process(tmp_path / str(n), f"level-1,utility=exact,lookahead={n}", "none")["parameters_sha256"]
        for n in (5, 50)
    ]
    assert ends[0] == ends[1]
