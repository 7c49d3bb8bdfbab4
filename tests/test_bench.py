"""`midstream plugins check`: the bench tells each fault of a player, and only where there is one."""

import json
from contextlib import suppress
from pathlib import Path
from typing import get_args

import faulty_players
import pytest
from installed_players import VARIANTS, installed

from midstream.command import plugins_check
from midstream.command.bench import bench
from midstream.command.bench.bench import check_player
from midstream.command.bench.checks import Check, Losses, Outcome, budget, effect, repeats, untouched
from midstream.command.bench.game import Role, TinyGame
from midstream.command.bench.witness import Touchable
from midstream.command.main import main

pytestmark = pytest.mark.slow

_FILE = faulty_players.__file__
_SOURCE = Path(_FILE).read_text(encoding="utf-8").splitlines()
_SIDES: list[Role] = ["attacker", "defender"]

both_sides = pytest.mark.parametrize("side", _SIDES)


def watched(side: Role, player: str, *, steps: int) -> TinyGame:
    game = TinyGame(side, f"{_FILE}:{player}")
    game.play(steps)
    return game


def found(side: Role, player: str, name: str) -> Check:
    checks = {check.name: check for check in check_player(side, f"{_FILE}:{player}")}
    assert checks["moves"].outcome == "passed"
    return checks[name]


@both_sides
@pytest.mark.parametrize(
    ("player", "largest", "projected", "outcome"),
    [
        ("Good,share=0.25", 0.25, 0, "passed"),
        ("Good,share=1", 1, 0, "passed"),
        ("Greedy", 4, 1, "note"),
        ("Idle", 0, 0, "note"),
    ],
)
def test_the_share_of_the_budget(
    side: Role, player: str, largest: float, projected: float, outcome: Outcome
) -> None:
    check = budget(watched(side, player, steps=2).witness.moves)
    assert check.outcome == outcome
    assert check.figures["largest_share"] == pytest.approx(largest)
    assert check.figures["projected"] == projected


@both_sides
@pytest.mark.parametrize(
    ("player", "touched", "outcome"),
    [
        ("Good", None, "passed"),
        ("WritesParameters", "parameters", "failed"),
        ("SwitchesMode", "mode", "failed"),
        ("Freezes", "requires_grad", "failed"),
        ("WritesValidation", "validation", "failed"),
        ("WritesGradient", "validation gradient", "failed"),
        ("WritesMoments", "moments", "failed"),
        ("LeavesGradients", "gradients", "note"),
        ("WritesBatch", "batch", "note"),
    ],
)
def test_what_a_player_changes_that_is_not_its_own(
    side: Role, player: str, touched: Touchable | None, outcome: Outcome
) -> None:
    game = TinyGame(side, f"{_FILE}:{player}")
    with suppress(RuntimeError):  # a frozen model cannot be trained
        game.play(2)
    assert game.witness.touched.keys() == ({touched} if touched else set())
    assert untouched(game.witness).outcome == outcome


def test_every_thing_that_can_be_touched_is_tested() -> None:
    (mark,) = [
        mark
        for mark in test_what_a_player_changes_that_is_not_its_own.pytestmark  # type: ignore[attr-defined]
        if mark.args[0] != "side"
    ]
    assert {touched for _, touched, _ in mark.args[1]} - {None} == set(get_args(Touchable))


def test_what_it_writes_into_the_validation_data_is_no_other_games() -> None:
    clean = watched("attacker", "Good", steps=1).evaluate().validation_loss
    assert watched("attacker", "WritesValidation", steps=1).evaluate().validation_loss != clean
    assert watched("attacker", "Good", steps=1).evaluate().validation_loss == clean


@pytest.mark.parametrize(
    ("side", "text", "effective"),
    [
        ("attacker", "level-1,beta=0.5", True),  # with a memory
        ("defender", "level-1", True),
        ("defender", f"{_FILE}:Remembers", False),
    ],
)
def test_a_player_without_a_fault(side: Role, text: str, effective: bool) -> None:
    *rules, last = check_player(side, text)
    names = ["moves", "budget", "untouched", "determinism", "memory", "speed"]
    assert [check.name for check in rules] == names
    assert all(check.outcome == "passed" for check in rules), rules
    assert last.name == "effect"
    assert last.outcome == ("passed" if effective else "note"), last


@pytest.mark.parametrize(
    ("side", "text"),
    [
        pytest.param(role, chosen.text, id=f"{role}-{chosen.text}")
        for role, kind in plugins_check.KINDS.items()
        for chosen in installed(kind)
        if chosen.text not in VARIANTS[kind]
    ],
)
def test_every_installed_player_passes(side: Role, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "RESTART", 6)  # in the second visit of each example
    monkeypatch.setattr(bench, "FEW", 3)
    monkeypatch.setattr(bench, "STEPS", bench.RESTART + bench.FEW)
    checks = check_player(side, text)
    assert len(checks) == 7 + any(check.name == "training" for check in checks)
    assert not [check for check in checks if check.outcome == "failed"]


@pytest.mark.parametrize(
    ("player", "outcome", "words"),
    [
        ("Mixes", "passed", "batches: 20 augmented, 5 rehearsed"),
        ("MixesItsOwn", "failed", "a new player returns a different augmented batch at batch 0"),
        ("RehearsesItsOwn", "failed", "a new player returns a different rehearsed batch at batch 3"),
    ],
)
def test_what_a_player_has_trained_on(
    player: str, outcome: Outcome, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "STEPS", bench.RESTART + bench.FEW)
    check = found("defender", player, "training")
    assert check.outcome == outcome
    assert words in check.detail


@pytest.mark.parametrize(
    ("player", "words"),
    [
        ("AugmentsShorter", "inputs of shape (49, 1, 8, 8), not (50, 1, 8, 8)"),
        ("RehearsesOne", "not batches"),
    ],
)
def test_what_cannot_be_trained_on(player: str, words: str) -> None:
    (check,) = check_player("defender", f"{_FILE}:{player}")
    assert check.outcome == "failed"
    assert words in check.detail


@pytest.mark.parametrize("player", ["DrawsItsOwn", "RemembersInItsClass"])
def test_moves_that_do_not_repeat(player: str) -> None:
    check = found("attacker", player, "determinism")
    assert check.outcome == "failed"
    assert check.figures["first_batch"] == 0
    assert "view.generator(batch.seq)" in check.detail


@pytest.mark.parametrize(("player", "outcome"), [("AlwaysTheSame", "note"), ("Good", "passed")])
def test_the_same_numbers_at_every_batch(player: str, outcome: Outcome) -> None:
    moves = watched("attacker", player, steps=3).witness.moves
    check = repeats(moves, moves)
    assert check.outcome == outcome
    assert ("batches 0 and 1 get equal moves" in check.detail) == (outcome == "note")


@pytest.mark.parametrize(
    ("side", "player", "words"),
    [
        ("attacker", "TellsNothing", "Add state_dict() and load_state_dict(state)"),
        ("attacker", "SharesWithNumpy", "did not see 'sum' of state_dict() change"),
        ("defender", "Forgets", "state_dict() lacks something"),
        ("defender", "RehearsesWhatItForgets", "Add state_dict() and load_state_dict(state)"),
        ("defender", "CannotGoOn", "it failed to continue: KeyError('average')"),
    ],
)
def test_a_memory_that_a_restart_would_lose(side: Role, player: str, words: str) -> None:
    check = found(side, player, "memory")
    assert check.outcome == "failed"
    assert words in check.detail


@pytest.mark.parametrize(
    ("side", "loss", "outcome"),
    [
        ("attacker", 0.31, "passed"),
        ("attacker", 0.30, "note"),
        ("attacker", 0.2, "note"),
        ("defender", 0.19, "passed"),
        ("defender", 0.2, "note"),
        ("defender", 0.3, "note"),
    ],
)
def test_an_effect_is_more_than_that_of_noise_and_of_nobody(
    side: Role, loss: float, outcome: Outcome
) -> None:
    assert effect(side, Losses(player=loss, nobody=0.2, noise=0.3)).outcome == outcome


def test_a_player_that_fails_is_checked_no_further() -> None:
    (check,) = check_player("defender", f"{_FILE}:Breaks")
    line = 1 + _SOURCE.index('            raise KeyError("weight")')
    assert check == Check(
        "moves",
        "failed",
        f"defender '{_FILE}:Breaks' failed at batch 2: KeyError('weight') "
        f"(faulty_players.py, line {line}, in perturb)",
    )


def test_a_game_that_breaks_down_says_what_was_touched() -> None:
    moves, touched = check_player("defender", f"{_FILE}:Freezes")
    assert moves.outcome == touched.outcome == "failed"
    assert "no parameter of the model requires a gradient" in moves.detail
    assert "requires_grad of the model's parameters" in touched.detail


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["plugins", "check", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("examples/random_attacker.py:RandomAttacker,share=0.5") == 0
    out = capsys.readouterr().out
    assert out.startswith("examples/random_attacker.py:RandomAttacker,share=0.5 as attacker")
    assert "uses 0.5 ε on average" in out


def test_the_command_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"{_FILE}:Breaks", "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["plugin"] == f"{_FILE}:Breaks"
    assert printed["passed"] is False
    for side in _SIDES:
        (check,) = printed[side]
        assert check["outcome"] == "failed"
        assert check["detail"].startswith(f"{side} ")


@pytest.mark.parametrize(
    ("words", "sides"),
    [
        (["level-1"], _SIDES),
        (["level-1,beta=0.5"], ["attacker"]),
        (["conversion,target=1"], ["attacker"]),
        (["none", "--as", "defender"], ["defender"]),
        (["attackers.py:MyDefender"], ["defender"]),
        (["folder/my_attack.py:Mine"], ["attacker"]),
        (["examples/disguise.py:Disguise"], ["attacker"]),
        (["examples/neighbour.py:Neighbour"], ["defender"]),
        ([f"{_FILE}:Good"], _SIDES),
    ],
)
def test_the_side_that_a_name_speaks_of(
    words: list[str], sides: list[Role], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "check_player", lambda *_, **__: [Check("moves", "passed", "")])
    assert run(*words, "--json") == 0
    assert json.loads(capsys.readouterr().out).keys() - {"plugin", "passed"} == set(sides)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("absent.py:Mine", "there is no file 'absent.py'"),
        ("absent_package.attacks:Mine", "there is no module 'absent_package'"),
        ("levle-1", "there is no attacker called 'levle-1'; did you mean 'level-1'?"),
        (f"{_FILE}:Goood", "called 'Goood'; did you mean 'Good'?"),
    ],
)
def test_a_name_that_leads_nowhere(text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(text) == 1
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
