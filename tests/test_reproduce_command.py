"""`midstream reproduce`: what it prints, plays and writes."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from midstream.command.figures import figure_3
from midstream.command.main import cli
from midstream.command.reproduce import played, playing
from midstream.command.reproduce.cells import cells_of
from midstream.command.reproduce.command import ReproduceError
from midstream.command.reproduce.document import reproduction
from midstream.command.reproduce.games import Game
from midstream.command.reproduce.shipped import read_shipment
from midstream.command.results.results import Results
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial


def reproduce(out: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["reproduce", *words, "--out", str(out)], catch_exceptions=False)


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> dict[str, Game]:
    """Return the games that ship, which are those of two cells of Table 2 on MNIST."""
    cells = cells_of(reproduction("table-2"), "cpu", "mnist", seeds=3, chosen=["level-1"])
    games = {
        trial.name: Game(
            trial.document(),
            {"test_accuracy": 0.1 * (seed + 1), "seconds": 9.0, "steps": 3.0},
            [(3, 0.1 * (seed + 1))],
            "0" * 64,
            {"torch": "2"},
            shipped=True,
        )
        for cell in cells
        for seed, trial in enumerate(cell.trials)
    }
    monkeypatch.setattr(playing, "shipped_games", lambda: dict(games))
    return games


def test_results_that_ship_are_printed_and_nothing_is_played(
    shipped: dict[str, Game], tmp_path: Path
) -> None:
    words = ["table-2", "--scale", "cpu", "--cell", "level-1"]
    printed = reproduce(tmp_path / "results", *words)
    assert printed.exit_code == 0, printed.output
    assert "Table 2, MNIST, scale cpu: " in printed.stdout
    assert "| Level-1  | 9.5 ± 2.9      | 20.0 ± 10.0 | 3 | no " in printed.stdout
    assert "missing" not in printed.stdout
    found = json.loads(reproduce(tmp_path / "results", *words, "--json").stdout)
    assert (found["table"], found["scale"], found["dataset"]) == ("table-2", "cpu", "mnist")
    first = found["cells"][0]
    assert first["paper"] == {"mean": 9.5, "deviation": 2.9}
    assert (first["row"], first["column"], first["here"]["n"], first["shipped"]) == (
        "level-1",
        "level-0",
        3,
        3,
    )
    assert (first["within"], first["missing"]) == (False, [])
    assert set(first["trials"]) < shipped.keys()


@pytest.mark.process
def test_what_ships_is_printed_without_torch(tmp_path: Path) -> None:
    """Importing it takes seconds; printing must take less than one."""
    words = ["reproduce", "table-2", "--scale", "quick", "--out", str(tmp_path / "results")]
    code = (
        "import sys\nfrom midstream.command.main import cli\n"
        f"cli({words}, standalone_mode=False)\nassert not {{'torch', 'matplotlib'}} & set(sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr
    assert "Table 2, MNIST, scale quick: " in printed.stdout
    assert "missing" not in printed.stdout


def test_a_whole_table_of_one_seed_is_played_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = cells_of(reproduction("table-2"), "cpu", "mnist", seeds=2, chosen=["no-attack", "level-1"])
    asked: list[tuple[int, str, str]] = []

    def play(trials: Sequence[Trial], *_: object, **__: object) -> Results:
        asked.extend((one.specification.seed, one.specification.defender, one.attacker) for one in trials)
        return Results(())

    monkeypatch.setattr(played, "play_trials", play)
    playing.games_of(cells, Place(tmp_path), play=True, fresh=True, workers=1, hours=None)
    assert asked == [
        (seed, defender, attacker)
        for seed in (0, 1)
        for defender in ("none", "level-1")
        for attacker in ("none", "level-1")
    ]


@pytest.mark.usefixtures("shipped")
def test_a_game_that_was_played_here_is_measured_here(
    shipped: dict[str, Game], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replaces the one that ships, which may have been measured at test time when it was not."""
    cells = cells_of(reproduction("table-2"), "cpu", "mnist", seeds=3, chosen=["level-1"])
    here = cells[0].trials[1]
    asked: list[str] = []

    def play(trials: Sequence[Trial], *_: object, **__: object) -> Results:
        asked.extend(trial.name for trial in trials)
        return Results(())

    monkeypatch.setattr(played, "play_trials", play)
    monkeypatch.setattr(played, "outcome_of", lambda trial, _: trial if trial == here else None)
    (tmp_path / here.name).mkdir()
    playing.games_of(cells, Place(tmp_path), play=True, fresh=False, workers=1, hours=None)
    assert asked == [here.name]
    assert here.name in shipped


def test_fresh_leaves_them_out_and_no_play_names_what_is_missing(tmp_path: Path) -> None:
    words = ["table-2", "--scale", "cpu", "--cell", "level-1,level-0", "--fresh", "--no-play"]
    printed = reproduce(tmp_path, *words)
    assert "3 of 3 games are missing: level-1,level-0 (seed 0, 1, 2)." in printed.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table-9"], "'table-9' is not one of 'table-2'"),
        (["table-2", "--cell", "level-one"], "there is no cell of Table 2 called 'level-one'"),
        (["table-2", "--dataset", "photos"], "Table 2 is not for photos, but for mnist"),
        (["figure-a10"], "name their folder with --photos"),
    ],
)
def test_what_it_refuses(words: list[str], message: str, tmp_path: Path) -> None:
    refused = reproduce(tmp_path, *words)
    assert refused.exit_code == 2
    assert message in " ".join(refused.output.split())


@pytest.mark.slow
@pytest.mark.process
def test_games_that_fail_are_named(tmp_path: Path) -> None:
    words = ["reproduce", "table-a6", "--cell", "dropout", "--out", str(tmp_path / "results")]
    failed = CliRunner().invoke(cli, [*words, "--data-root", str(tmp_path), "--fresh", "--workers", "1"])
    assert isinstance(failed.exception, ReproduceError)
    assert str(failed.exception) == "1 games failed; the same command plays them again"
    assert "1 of 1 games are missing: dropout,level-1 (seed 0)." in failed.stdout
    assert "failed: mnist, level-1 vs none, seed 0" in failed.stderr


def test_a_figure_without_games_is_drawn_by_its_own_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(figure_3.command, "callback", lambda **settings: given.update(settings))
    drawn = reproduce(tmp_path, "figure-3", "--scale", "quick")
    assert drawn.exit_code == 0, drawn.output
    assert (given["out"], given["threads"], given["runs"], given["seed"]) == (tmp_path, 1, 20, 0)
    assert reproduce(tmp_path, "figure-3", "--scale", "paper").exit_code == 0
    assert given["runs"] == 2000


@pytest.mark.slow
@pytest.mark.process
def test_what_is_missing_is_played_once_and_saved(tmp_path: Path) -> None:
    """Table A.8, since it also attacks the finished models."""
    words = ["table-a8", "--dataset", "digits", "--cell", "yopo,level-0", "--workers", "1", "--fresh"]
    played = reproduce(tmp_path / "results", *words, "--save", str(tmp_path / "a8.json"))
    assert played.exit_code == 0, played.output
    assert "missing" not in played.stdout
    saved = read_shipment("a8.json", (tmp_path / "a8.json").read_text(encoding="utf-8"))
    (game,) = saved.games
    assert saved.command == "midstream reproduce table-a8 --scale quick --dataset digits --cell yopo,level-0"
    assert 0 <= game.values["under_yopo"] <= game.values["test_accuracy"] <= 1
    assert game.environment["threads"] == 1
    assert game.curve[-1] == (game.values["steps"], game.values["test_accuracy"])
    again = reproduce(tmp_path / "results", *words, "--no-play")
    assert again.stdout == played.stdout


@pytest.mark.slow
@pytest.mark.process
def test_the_largest_table_takes_less_than_five_minutes_at_quick_scale(tmp_path: Path) -> None:
    """Table 2 has 26 games, more than any other table."""
    words = ["table-2", "--scale", "quick", "--dataset", "digits", "--workers", "2", "--fresh"]
    began = time.monotonic()
    played = reproduce(tmp_path / "results", *words, "--json")
    assert played.exit_code == 0, played.output
    assert time.monotonic() - began < 300
    cells = json.loads(played.stdout)["cells"]
    assert len(cells) == 26
    assert all(cell["here"]["n"] == 1 and not cell["missing"] for cell in cells)
