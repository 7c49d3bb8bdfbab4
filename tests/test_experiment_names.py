"""A measured game has a name of its own, whatever its players are called."""

from pathlib import Path

import pytest
from experiments import baselines
from experiments.games import name_of

from midstream.protocol.specification import Specification

ATTACK = """
class Mine:
    def perturb(self, batch, view):
        return batch.inputs * 0
"""


@pytest.mark.parametrize("side", ["attacks", "defences"])
def test_a_player_by_absolute_path_is_measured(
    side: baselines.Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "My Attack.py").write_text(ATTACK)
    monkeypatch.setitem(baselines.GAMES, "digits", {"epochs": 1, "train_size": 100, "validation_size": 20})
    player = f"{tmp_path}/My Attack.py:Mine"
    accuracy = baselines._play("digits", side, 0, player, "none", tmp_path / "games", None)
    assert 0 < accuracy < 1
    assert len([*(tmp_path / "games").glob("*.json")]) == 1


def test_names_are_those_of_runs_and_of_one_game_each() -> None:
    players = [
        "/a/b.py:C",
        "/a-b.py:C",
        "a/b.py:c",
        "level-1,beta=0.9",
        "pgd,fraction=1e-3",
        "level-k,k=2,opponent_epsilon=-1",
        "level-k,k=2,opponent_epsilon=1",
        f"/{'deep/' * 60}a.py:A",
        f"/{'deep/' * 60}b.py:A",
        "midstream.attacks.noise:Noise",
        "level-1+cutmix,on=both+train-on-validation",
    ]
    names = [name_of(player, "none", 0) for player in players]
    assert len(set(names)) == len(names)
    assert [Specification.model_validate({"name": name}).name for name in names] == names


def test_names_that_games_are_kept_under_stay() -> None:
    assert name_of("level-1,beta=0", "level-1+cutmix,on=both", 2) == (
        "level-1-beta-0-vs-level-1-and-cutmix-on-both-seed2"
    )
    assert name_of("cw,iterations=50,searches=4", "none", 0) == "cw-iterations-50-searches-4-vs-none-seed0"
