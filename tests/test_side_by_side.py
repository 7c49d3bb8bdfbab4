"""Games in turns in one process end in the bits of games alone."""

from collections.abc import Generator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from short_games import CPU, alone, plan, together

from midstream.command.games.game import GameError, GamePlan
from midstream.command.games.local import local_turns
from midstream.command.games.side_by_side import SideBySide
from midstream.run.process.precision import chosen


def games(out: Path) -> dict[str, GamePlan]:
    return {
        "coarse": plan(out / "coarse", precision="bfloat16"),
        "fine": plan(out / "fine"),
        "by links": plan(out / "links", "influence,max_iterations=2", "none", max_steps=5),
        "another": plan(out / "another", "level-1,at=memory", seed=3),
    }


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what each game ends in if it is played by itself."""
    return {name: alone(game) for name, game in games(tmp_path_factory.mktemp("alone")).items()}


@pytest.mark.slow
def test_games_side_by_side_end_in_the_bits_of_games_alone(
    tmp_path: Path, one_by_one: dict[str, str]
) -> None:
    before = chosen()
    ended, told = together(games(tmp_path), CPU)
    assert ended == one_by_one
    assert len(set(ended.values())) == 4
    assert sum(one != other for one, other in pairwise(told)) > len(told) / 2  # in turns
    assert chosen() == before


@pytest.mark.slow
def test_games_that_are_closed_go_on_later(tmp_path: Path, one_by_one: dict[str, str]) -> None:
    side = SideBySide[str, dict[str, object]]()
    for name, game in games(tmp_path).items():
        side.add(name, local_turns(game, lambda *_: None), CPU)
    for _ in range(7):
        list(side.turn())
    side.close()
    assert not side
    for name, game in games(tmp_path).items():
        if not (game.folder / "result.json").exists():
            assert alone(game) == one_by_one[name]


def test_a_game_that_fails_leaves_the_others_alone() -> None:
    torch.set_num_threads(1)

    def fails() -> Generator[None, None, object]:
        yield
        raise GameError("no")

    def goes_on() -> Generator[None, None, object]:
        yield
        yield
        return "done"

    side = SideBySide[str, object]()
    side.add("fails", fails(), CPU)
    side.add("goes on", goes_on(), CPU)
    list(side.turn())
    with pytest.raises(GameError):
        list(side.turn())
