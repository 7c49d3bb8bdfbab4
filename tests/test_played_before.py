"""A folder that holds a game of other settings is not taken for the game that was asked for."""

from pathlib import Path
from typing import Any

import pytest

import midstream
from midstream.command.api.settings import plan_from
from midstream.command.games.game import GameError
from midstream.command.sweep.grid import trials_of
from midstream.mathematics.graphs.capturing import switch, switched_on

BRIGHTER = """
import torch

class Brighter:
    def perturb(self, batch, view):
        return view.budget.epsilon * view.budget.direction(torch.ones_like(batch.inputs))
"""
SMALL: dict[str, Any] = {
    "train_size": 25,
    "validation_size": 40,
    "batch_size": 10,
    "max_steps": 2,
    "threads": 1,
    "device": "cpu",
    "run": "game",
}


def quiet(*_: object) -> None:
    pass


def play(out: Path, **settings: Any) -> midstream.GameResult:
    return midstream.play(**(SMALL | {"out": out, "attacker": "none"} | settings), follow=quiet)


def test_a_result_of_another_precision_is_not_the_result(tmp_path: Path) -> None:
    play(tmp_path)
    with pytest.raises(GameError, match="a different game: precision float32, here bfloat16"):
        play(tmp_path, resume=True, precision="bfloat16")


def test_a_scenario_without_precision_is_that_of_an_earlier_game(tmp_path: Path) -> None:
    first = play(tmp_path)
    scenario = tmp_path / "game/scenario.yaml"
    scenario.write_text(scenario.read_text().replace("precision: float32\n", ""))
    assert play(tmp_path, resume=True) == first


def test_a_result_of_an_unknown_attacker_is_not_the_result(tmp_path: Path) -> None:
    play(tmp_path)
    (tmp_path / "game/scenario.yaml").unlink()
    with pytest.raises(GameError, match="its attacker is unknown"):
        play(tmp_path, resume=True)


def test_an_edited_plug_in_neither_goes_on_nor_is_finished(tmp_path: Path) -> None:
    file = tmp_path / "brighter.py"
    file.write_text(BRIGHTER)
    settings = {"attacker": f"{file}:Brighter", "resume": True}
    with midstream.Game(**SMALL | settings, out=tmp_path, follow=quiet) as game:
        next(iter(game))
    file.write_text(f"{BRIGHTER}# edited\n")
    with pytest.raises(
        GameError, match=r"a different unfinished game: the file of .*brighter.py:Brighter was edited"
    ):
        play(tmp_path, **settings)
    file.write_text(BRIGHTER)
    whole = play(tmp_path, **settings)
    assert play(tmp_path, **settings) == whole
    file.write_text(f"{BRIGHTER}# edited\n")
    with pytest.raises(GameError, match=r"the result of a different game: the file of .*brighter\.py"):
        play(tmp_path, **settings)


def test_a_surrogate_from_an_edited_file_makes_a_different_trial(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    names = set()
    for text in ("", "# edited\n"):
        file.write_text(text)
        (trial,) = trials_of([{"access": "black-box", "surrogate": f"{file}:Net"}])
        names.add(trial.name)
    assert len(names) == 2


def test_false_counts_against_a_scenario_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("capture: true\nresume: true\n")
    monkeypatch.setenv("MIDSTREAM_DOWNLOAD", "1")
    try:
        plan, resume = plan_from({"scenario": scenario, "capture": False, "download": False, "resume": False})
        assert (switched_on(), plan.download, resume) == (False, False, False)
        plan, resume = plan_from({"scenario": scenario})
        assert (switched_on(), plan.download, resume) == (True, True, True)
    finally:
        switch(False)
