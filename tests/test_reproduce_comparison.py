"""Cells, their games beside the paper's figures, and the results that ship."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from midstream.command.reproduce import shipped
from midstream.command.reproduce.asked import Asked
from midstream.command.reproduce.cells import Cell, CellError, cells_of
from midstream.command.reproduce.comparison import Compared, compared
from midstream.command.reproduce.document import reproduction
from midstream.command.reproduce.gains import gains
from midstream.command.reproduce.games import Game
from midstream.command.reproduce.markdown import missing_words, page_of
from midstream.command.reproduce.names import names
from midstream.command.reproduce.plots import picture
from midstream.command.reproduce.scales import scales_of
from midstream.command.reproduce.shipped import ShippedError, read_shipment, write_shipment
from midstream.command.sweep.trial import Trial

WHERE = {"midstream": "0.1.0", "torch": "2", "device": "cpu", "threads": 1}


def game(trial: Trial, accuracy: float, *, seconds: float = 10.0) -> Game:
    values = {"test_accuracy": accuracy, "seconds": seconds, "steps": 20.0}
    return Game(trial.document(), values, [(10, accuracy / 2), (20, accuracy)], "0" * 64, WHERE)


def table_2(*chosen: str, seeds: int = 2) -> list[Cell]:
    return cells_of(reproduction("table-2"), "quick", "mnist", seeds=seeds, chosen=chosen)


def with_accuracies(cells: Iterable[Cell], *accuracies: float) -> list[Compared]:
    """Return cells whose games, one per seed, ended with these accuracies."""
    listed = list(cells)
    played = {
        trial.name: game(trial, accuracy)
        for cell in listed
        for trial, accuracy in zip(cell.trials, accuracies, strict=False)
    }
    return compared(listed, played)


@pytest.mark.parametrize("name", names())
def test_every_cell_can_be_played(name: str, tmp_path: Path) -> None:
    shown = reproduction(name)
    for dataset in shown.datasets:
        for scale in scales_of(dataset):
            cells = cells_of(shown, scale, dataset, seeds=1, photos=tmp_path)
            assert len({str(cell) + cell.panel.name for cell in cells}) == len(cells)
            assert all(isinstance(cell.at, int | float) for cell in cells if cell.panel.kind == "line")


def test_a_paper_sized_game_is_the_default_of_play() -> None:
    (cell,) = cells_of(reproduction("table-2"), "paper", "mnist", seeds=5, chosen=["level-1,level-0"])
    run = cell.trials[0].specification
    assert (run.batch_size, run.epochs, run.epsilon, run.validation_size) == (500, 120, 3.0, 5000)
    assert [trial.specification.seed for trial in cell.trials] == [0, 1, 2, 3, 4]
    assert str(cell.stated) == "9.5 ± 2.9"


def test_cells_are_chosen_by_row_or_by_row_and_column() -> None:
    assert [str(cell) for cell in table_2("level-1")] == ["level-1,level-0", "level-1,level-1"]
    assert [str(cell) for cell in table_2("cw,level-1", "dc,level-0")] == ["cw,level-1", "dc,level-0"]
    with pytest.raises(CellError, match="no cell of Table 2 called 'level-9'"):
        table_2("level-9")


def test_what_cannot_be_played_is_refused() -> None:
    with pytest.raises(CellError, match=r"Table 2 is not for photos, but for mnist, cifar10, cifar100"):
        cells_of(reproduction("table-2"), "quick", "photos", seeds=1)
    with pytest.raises(CellError, match="the paper does not play digits; choose --scale cpu or quick"):
        cells_of(reproduction("table-2"), "paper", "digits", seeds=1)
    with pytest.raises(CellError, match="name their folder with --photos"):
        cells_of(reproduction("figure-a10"), "quick", "photos", seeds=1)


@pytest.mark.parametrize(
    ("accuracies", "within"),
    [((0.09, 0.11), True), ((0.152, 0.152), True), ((0.154, 0.154), False), ((0.154,), False), ((), None)],
)
def test_ours_is_compared_by_the_papers_deviation(accuracies: tuple[float, ...], within: bool | None) -> None:
    (one,) = with_accuracies(table_2("level-1,level-0"), *accuracies)  # the paper's is 9.5 ± 2.9
    assert one.within is within
    assert len(one.missing) == 2 - len(accuracies)
    assert (one.spread is None) == (accuracies == ())


def test_without_a_deviation_of_the_papers_it_is_compared_by_ours() -> None:
    cells = cells_of(reproduction("table-a6"), "quick", "mnist", seeds=2, chosen=["dropout"])  # 10.8
    assert with_accuracies(cells, 0.10, 0.16)[0].within  # 13.0 ± 4.2
    assert with_accuracies(cells, 0.20, 0.21)[0].within is False
    assert with_accuracies(cells, 0.108)[0].within is None


def test_the_page_shows_both_and_names_what_is_missing() -> None:
    found = with_accuracies(table_2("no-attack", "level-1-whole"), 0.9, 0.92)
    page = page_of(reproduction("table-2"), "quick", "mnist", found)
    assert "| No attack " in page
    assert "| 98.8 ± 0.5     | 91.0 ± 1.4 | 2 | no " in page
    assert "9.5 ± 2.9" in page  # a reading of level 1
    assert "missing" not in page
    first, *_ = found
    half = [Compared(first.cell, first.games[:1])]
    assert missing_words(half) == "1 of 2 games are missing: no-attack,level-0 (seed 1)."
    assert "| 90.0 | 1 of 2 |" in page_of(reproduction("table-2"), "quick", "mnist", half)


def test_the_page_says_which_games_were_not_played_here() -> None:
    found = with_accuracies(table_2("no-attack", "level-1"), 0.9, 0.92)
    assert "ship with" not in page_of(reproduction("table-2"), "quick", "mnist", found)
    first, *others = found
    sent = Compared(first.cell, tuple(replace(one, shipped=True) for one in first.games))
    page = page_of(reproduction("table-2"), "quick", "mnist", [sent, *others])
    assert "2 of 8 games were not played here" in page
    assert "from midstream 0.1.0, torch 2, device cpu, threads 1." in page


def test_the_gain_of_a_level_is_over_level_0_against_the_same_opponents() -> None:
    cells = cells_of(reproduction("figure-a9"), "quick", "mnist", seeds=1, chosen=["level-0", "level-1"])
    ends = {"level-0,level-0": 0.9, "level-0,level-1": 0.8, "level-1,level-0": 0.3, "level-1,level-1": 0.7}
    played = {
        cell.trials[0].name: game(
            cell.trials[0], ends[str(cell)], seconds=30.0 if cell.row == "level-1" else 10.0
        )
        for cell in cells
        if str(cell) in ends
    }
    found = {(gain.side, gain.level): gain for gain in gains(compared(cells, played))}
    assert found.keys() == {("attacker", "level-1"), ("defender", "level-1")}
    assert found["attacker", "level-1"].gain == pytest.approx((60 + 10) / 2)
    assert found["attacker", "level-1"].seconds == pytest.approx(1.0)  # 20 s more, in 20 steps
    assert found["defender", "level-1"].gain == pytest.approx((-10 + 40) / 2)
    assert found["defender", "level-1"].seconds == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["figure-4", "figure-a9"])
def test_every_panel_of_a_figure_is_drawn(name: str) -> None:
    shown = reproduction(name)
    found = with_accuracies(cells_of(shown, "quick", "mnist", seeds=2), 0.4, 0.5)
    drawn = picture(shown, found).axes
    kinds = [panel.kind for panel in shown.panels]
    assert len(drawn) == len(kinds) + kinds.count("grid")
    assert all(axes.lines or axes.images for axes in drawn)


def test_results_that_ship_are_read_as_they_were_written(tmp_path: Path) -> None:
    compared = with_accuracies(table_2("level-1", "level-1-black-box"), 0.5, 0.5)
    games = [one for cell in compared for one in cell.games]
    path = tmp_path / "some.json"
    write_shipment(path, "midstream reproduce table-2", compared)
    text = path.read_text(encoding="utf-8")
    found = read_shipment("some.json", text)
    assert found.command == "midstream reproduce table-2"
    assert [one.name for one in found.games] == [one.name for one in games]
    assert all(one.shipped and one.environment == WHERE for one in found.games)
    assert [(one.values, one.curve) for one in found.games] == [(one.values, one.curve) for one in games]
    assert len(text.splitlines()) < len(games) + 20  # a line for each game
    with pytest.raises(ShippedError, match=r"some\.json was changed after it was written"):
        read_shipment("some.json", text.replace("0.5", "0.9", 1))
    for broken in ("[]", "{", "{}", json.dumps({"games": 1})):
        with pytest.raises(ShippedError, match=r"some\.json"):
            read_shipment("some.json", broken)


def test_what_ships_is_what_its_settings_make() -> None:
    """Tables find a game that ships by the settings alone, so these must still make the game's trial."""
    for shipment in shipped.shipments().values():
        for one, asked in zip(shipment.games, shipment.asked, strict=True):
            assert asked
            assert [Asked(settings).trial.name for settings in asked] == [one.name] * len(asked)
            assert Trial.of(one.document).name == one.name


def test_the_values_of_one_game_in_two_files_are_put_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (cell,) = table_2("no-attack,level-1", seeds=1)
    plain = game(cell.trials[0], 0.5)
    attacked = replace(plain, values={"under_pgd": 0.1})
    read = {}
    for name, one in (("a.json", plain), ("b.json", attacked)):
        write_shipment(tmp_path / name, "midstream", [Compared(cell, (one,))])
        read[name] = read_shipment(name, (tmp_path / name).read_text(encoding="utf-8"))
    monkeypatch.setattr(shipped, "shipments", lambda: read)
    found = shipped.shipped_games()[plain.name]
    assert found.values == {**plain.values, "under_pgd": 0.1}
