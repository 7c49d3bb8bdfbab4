"""`midstream.play` and `midstream.Game` in this process: the command's settings, typed results, steps."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import midstream
from midstream import Batch, View
from midstream.command.api.settings import SettingError, Settings, known
from midstream.command.games.game import GameError
from midstream.command.main import cli
from midstream.plugins import PluginError
from midstream.protocol.wire import tensors_sha256

SMALL: dict[str, Any] = {
    "train_size": 25,
    "validation_size": 40,
    "batch_size": 10,
    "epochs": 2,
    "defender": "level-1",
    "threads": 1,
    "device": "cpu",
}
STEPS = 6


def quiet(*_: object) -> None:
    pass


def play(out: Path, **settings: Any) -> midstream.GameResult:
    return midstream.play(**(SMALL | {"out": out} | settings), follow=quiet)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> midstream.GameResult:
    return play(tmp_path_factory.mktemp("runs"), attacker="level-1", run="game")


class Lighter:
    """Adds the same light to every pixel, and counts its moves."""

    def __init__(self) -> None:
        self.moves = 0

    def perturb(self, batch: Batch, view: View) -> torch.Tensor:
        self.moves += 1
        return view.budget.epsilon * view.budget.direction(torch.ones_like(batch.inputs))


def test_every_option_of_the_command_is_a_setting_of_the_same_type() -> None:
    kinds = get_type_hints(Settings)
    assert set(kinds) == set(known())
    for name, parameter in known().items():
        types = set(get_args(kinds[name]))
        if isinstance(parameter.type, click.Choice):
            assert any(get_args(kind) == tuple(parameter.type.choices) for kind in types), name
        elif parameter.type.name in ("integer", "integer range"):
            assert int in types, name
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            assert bool in types, name


def test_the_result_is_what_the_command_prints(played: midstream.GameResult, tmp_path: Path) -> None:
    words = ["play", "--attacker", "level-1", "--transport", "local", "--run", "game", "--json"]
    for name, value in (SMALL | {"out": tmp_path}).items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    printed = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).stdout)
    changing = {"run", "seconds"}
    assert printed.keys() == played.as_dict().keys()
    assert {name: printed[name] for name in printed.keys() - changing} == {
        name: value for name, value in played.as_dict().items() if name not in changing
    }
    assert played.steps == STEPS
    assert played.folder.name == "game"


def test_metrics_are_arrays_of_one_entry_per_step(played: midstream.GameResult) -> None:
    metrics = played.metrics
    assert {values.shape for values in metrics.values()} == {(STEPS,)}
    assert metrics["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert np.isfinite(metrics["test_accuracy"]).tolist() == [False, False, True] * 2
    curve = metrics.evaluated()
    assert curve["step"].tolist() == [3, 6]
    assert curve["test_accuracy"][-1] == played.test_accuracy


def test_the_model_is_the_one_that_was_trained(played: midstream.GameResult) -> None:
    assert tensors_sha256(dict(played.model().state_dict())) == played.parameters_sha256


def test_a_notebook_shows_a_table_and_a_curve_without_scripts(played: midstream.GameResult) -> None:
    shown = played._repr_html_()
    assert f"{played.test_accuracy:.4g}" in shown
    assert "<svg" in shown
    assert "<polyline" in shown
    assert "<script" not in shown


def test_a_name_is_shown_as_text(played: midstream.GameResult) -> None:
    assert "<b>" not in replace(played, attacker="<b>.py:Mine")._repr_html_()


def test_a_result_is_loaded_from_its_folder(played: midstream.GameResult, tmp_path: Path) -> None:
    assert midstream.GameResult.load(played.folder) == played
    with pytest.raises(midstream.MidstreamError, match="is not a folder"):
        midstream.GameResult.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"atacker": "level-1"}, "there is no setting 'atacker'; did you mean 'attacker'"),
        ({"learning_rate": 0.1}, "did you mean 'lr'"),
        ({"as_json": True}, "there is no setting 'as_json'"),
        ({"seed": "one"}, "Invalid value for '--seed': 'one' is not a valid integer"),
        ({"epsilon": -1}, "--epsilon: Input should be greater than or equal to 0, not -1.0"),
        ({"transport": "carrier pigeon"}, "is not one of 'http', 'local'"),
        ({"attack_norm": "linf"}, "--attack-norm linf needs an --attack-epsilon"),
        ({"surrogate": "logistic"}, "add --access black-box"),
        ({"download": "yes"}, "download is 'yes'; it must be True or False"),
        ({"signed": "provider"}, "needs --transport http"),
        ({"attacker": Lighter, "transport": "http"}, "other processes cannot use"),
        ({"attacker": Lighter(), "access": "black-box"}, "a black-box game trains several attackers"),
    ],
)
@pytest.mark.parametrize("begin", [midstream.play, midstream.Game])
def test_a_wrong_setting_is_refused_with_the_commands_sentence(
    begin: Any, settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingError) as caught:
        begin(out=tmp_path, **settings)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_given_comes_from_where_the_command_takes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("seed: 3\nattacker: noise\n")
    monkeypatch.setenv("MIDSTREAM_MAX_STEPS", "1")
    result = play(tmp_path, scenario=scenario, attacker="none")
    assert (result.seed, result.attacker, result.steps) == (3, "none", 1)


@pytest.mark.parametrize("attacker", [Lighter, Lighter()])
def test_a_player_can_be_an_object(attacker: Any, tmp_path: Path) -> None:
    own = play(tmp_path, attacker=attacker)
    named = play(tmp_path, attacker=f"{__file__}:Lighter")
    assert own.parameters_sha256 == named.parameters_sha256
    assert own.attacker == f"{__name__}:Lighter"
    if not isinstance(attacker, type):
        assert attacker.moves == STEPS
    defended = play(tmp_path, attacker="none", defender=attacker)
    assert defended.defender == f"{__name__}:Lighter"
    assert defended.parameters_sha256 == play(tmp_path, attacker=Lighter, defender="none").parameters_sha256


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"train_size": 9999}, "9999"), ({"device": "abacus"}, "device 'abacus' cannot be used here")],
)
def test_a_game_that_cannot_be_played_here_is_refused(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(GameError, match=words):
        play(tmp_path, **settings)
    with (
        pytest.raises(GameError, match=words),
        midstream.Game(**SMALL | {"out": tmp_path} | settings, follow=quiet),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_is_no_player_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="has no method perturb"):
        play(tmp_path, attacker=object())


def test_a_finished_game_is_not_played_again(played: midstream.GameResult) -> None:
    again: dict[str, Any] = {"out": played.folder.parent, "run": "game", "attacker": "level-1"}
    written = (played.folder / "result.json").stat().st_mtime_ns
    assert play(**again, resume=True) == played
    assert (played.folder / "result.json").stat().st_mtime_ns == written
    with midstream.Game(**(SMALL | again), resume=True, follow=quiet) as game:
        assert list(game) == []
        assert game.result == played
        assert game.accuracy() == played.test_accuracy
    with pytest.raises(GameError, match="already holds a run"):
        play(**again)
    with pytest.raises(GameError, match="the result of a different game: seed 0, here 1"):
        play(**again, resume=True, seed=1)
    with pytest.raises(GameError, match="attacker level-1, here pgd"):
        play(**again | {"attacker": "pgd"}, resume=True)


def test_a_resumed_game_without_a_name_is_the_one_of_its_settings(tmp_path: Path) -> None:
    first = play(tmp_path, max_steps=1)
    assert play(tmp_path, max_steps=1, resume=True) == first
    assert play(tmp_path, max_steps=1).folder != first.folder


def test_a_step_holds_the_minibatch_on_its_way(played: midstream.GameResult, tmp_path: Path) -> None:
    with midstream.Game(**SMALL | {"attacker": "level-1", "out": tmp_path}, follow=quiet) as game:
        assert (game.step, game.total_steps) == (0, STEPS)
        for step in game:
            assert step.attacked is not None
            assert step.defended is not None
            for before, after in ((step.clean, step.attacked), (step.attacked, step.defended)):
                sizes = (after - before).flatten(1).norm(dim=1)
                assert (sizes > 0).all()
                assert (sizes <= 1.5 + 1e-5).all()
            assert game.step == step.metrics["step"] == step.seq + 1
            assert step.loss == step.metrics["loss"] == played.metrics["loss"][step.seq]
        assert game.accuracy() == played.test_accuracy
        assert tensors_sha256(dict(game.model.state_dict())) == played.parameters_sha256
    assert game.result.parameters_sha256 == played.parameters_sha256


@pytest.mark.parametrize("attacker", ["level-1", "evoshift"])
def test_a_game_that_was_left_goes_on_with_its_attackers_memory(attacker: str, tmp_path: Path) -> None:
    settings = SMALL | {"attacker": attacker, "out": tmp_path, "run": "left"}
    with midstream.Game(**settings, follow=quiet) as game:
        for step in game:
            if step.seq == 3:
                break
        with pytest.raises(GameError, match="not finished after step 4 of 6"):
            _ = game.result
    with pytest.raises(GameError, match="is not being played"):
        next(iter(game))
    with pytest.raises(GameError, match="a different unfinished game: seed 0, here 1"):
        play(**settings | {"seed": 1})
    with pytest.raises(GameError, match="a different unfinished game: attacker"):
        play(**settings | {"attacker": "pgd"})
    with midstream.Game(**settings, follow=quiet) as game:
        assert game.step == 4
        assert [step.seq for step in game] == [4, 5]
    whole = play(**settings | {"run": "whole"})
    assert game.result.parameters_sha256 == whole.parameters_sha256
    assert game.result.metrics["loss"].tolist() == whole.metrics["loss"].tolist()
    left = {path.name for path in game.folder.iterdir()}
    assert left == {path.name for path in whole.folder.iterdir()}


def test_a_run_that_a_server_began_is_left_to_servers(tmp_path: Path) -> None:
    with midstream.Game(**SMALL, out=tmp_path, run="game", follow=quiet) as game:
        next(iter(game))
    (tmp_path / "game/scenario.yaml").unlink()
    (tmp_path / "game/journal.sqlite").touch()
    with pytest.raises(midstream.MidstreamError, match=r"journal\.sqlite belongs to a server"):
        play(tmp_path, run="game")


def test_a_game_that_is_being_played_is_not_played_twice(tmp_path: Path) -> None:
    settings = SMALL | {"out": tmp_path, "run": "game"}
    with midstream.Game(**settings, follow=quiet) as game:
        next(iter(game))
        with pytest.raises(GameError, match="another process plays the game"):
            play(**settings)


def test_a_failing_player_ends_the_game_with_the_sentence_of_the_services(tmp_path: Path) -> None:
    class Breaks(Lighter):
        def perturb(self, batch: Batch, view: View) -> torch.Tensor:
            if batch.seq == 2:
                raise KeyError("out of ideas")
            return super().perturb(batch, view)

    with pytest.raises(midstream.MidstreamError) as caught:
        play(tmp_path, attacker=Breaks, run="game")
    assert "run 'game' refused batch 2. The attack failed: attacker" in str(caught.value)
    assert "KeyError('out of ideas')" in str(caught.value)
    with pytest.raises(midstream.MidstreamError, match="The defender failed"):
        play(tmp_path, attacker="none", defender=Breaks)


def test_threads_are_the_callers_again_after_a_game(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    play(tmp_path, threads=before + 1, max_steps=1)
    assert torch.get_num_threads() == before


class Counting:
    """Moves nothing, and notes how many threads compute."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def perturb(self, batch: Batch, view: View) -> torch.Tensor:  # noqa: ARG002
        self.threads.append(torch.get_num_threads())
        return torch.zeros_like(batch.inputs)


def test_games_in_turns_keep_their_threads_and_may_end_in_any_order(tmp_path: Path) -> None:
    before, first, second = torch.get_num_threads(), Counting(), Counting()
    games = [
        midstream.Game(
            **SMALL | {"threads": before + more}, out=tmp_path / str(more), attacker=one, follow=quiet
        )
        for more, one in ((1, first), (2, second))
    ]
    for game in games:
        game.__enter__()
    steps = [iter(game) for game in games]
    for _ in range(2):
        next(steps[0])
        next(steps[1])
    games[0].__exit__(None, None, None)
    next(steps[1])
    games[1].__exit__(None, None, None)
    assert (first.threads, second.threads) == ([before + 1] * 2, [before + 2] * 3)
    assert torch.get_num_threads() == before
