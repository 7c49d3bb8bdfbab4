"""What the tables and figures of the paper are read as: the paper's figures, and the games of each scale."""

import csv
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from midstream.command.reproduce.document import Panel, Stated, reproduction, stated
from midstream.command.reproduce.names import names
from midstream.command.reproduce.scales import resolved, seeds_of, sizes_of

ASKED = [
    *("table-2", "table-3", "table-4", "table-5", "table-a6", "table-a7", "table-a8"),
    *("figure-4", "figure-5", "figure-7", "figure-a9", "figure-a10"),
]

PANEL: dict[str, Any] = {
    "kind": "table",
    "measure": "test_accuracy",
    "over": "attacker",
    "columns": {"level-0": {"defender": "none"}, "level-1": {"defender": "level-1"}},
    "rows": {"first": {"attacker": "none"}, "second": {"attacker": "pgd", "only": ["level-1"]}},
}


def test_every_table_and_figure_is_there() -> None:
    assert list(names()) == ASKED
    for name in names():
        found = reproduction(name)
        assert found.source.lower().replace(" ", "-").replace(".", "") == name
        assert len({panel.name for panel in found.panels}) == len(found.panels)


def test_the_papers_figures_are_those_that_were_copied_from_it_a_second_time() -> None:
    with (Path(__file__).parent / "paper_figures.csv").open(encoding="utf-8") as file:
        copied = {
            (line["table"], line["dataset"], line["row"], line["column"]): Stated(
                float(line["mean"]), float(line["deviation"]) if line["deviation"] else None
            )
            for line in csv.DictReader(file)
        }
    typed = {
        (name, dataset, row, column): figure
        for name in names()
        for panel in reproduction(name).panels
        for dataset, rows in panel.paper.items()
        for row, figures in rows.items()
        for column, figure in zip(panel.columns_of(row), figures, strict=True)
    }
    assert typed == copied
    assert len(typed) == 98


def test_a_reading_is_compared_with_the_figure_of_its_method() -> None:
    (panel,) = reproduction("table-2").panels
    assert panel.stated("mnist", "level-1-at-memory-whole", "level-0") == Stated(9.5, 2.9)
    assert panel.stated("digits", "level-1", "level-0") is None


def test_a_row_may_have_some_columns_only() -> None:
    panel = Panel.model_validate(PANEL | {"paper": {"mnist": {"first": [1.0, 2], "second": ["3.5 ± 0.5"]}}})
    assert panel.stated("mnist", "second", "level-1") == Stated(3.5, 0.5)
    assert panel.stated("mnist", "first", "level-1") == Stated(2.0)


@pytest.mark.parametrize("figures", [{"third": [1, 2]}, {"first": [1]}, {"second": [1, 2]}])
def test_figures_that_fit_no_row_are_refused(figures: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="fit no row of the panel"):
        Panel.model_validate(PANEL | {"paper": {"mnist": figures}})


@pytest.mark.parametrize("text", ["", "9.5 +- 2", "± 2", "a", "9,5"])
def test_a_figure_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a figure"):
        stated(text)


def test_quick_games_are_few_steps_and_the_papers_are_its_own() -> None:
    for dataset in ("digits", "mnist", "cifar10", "cifar100", "photos"):
        sizes = sizes_of("quick", dataset)
        steps = int(sizes["train-size"]) // int(sizes["batch-size"]) * int(sizes["epochs"])
        assert steps <= 40
        assert dataset == "digits" or "train-size" not in sizes_of("paper", dataset)
    assert [seeds_of("quick"), seeds_of("cpu"), seeds_of("paper")] == [1, 3, 5]


def test_a_share_is_of_the_scales_own_size() -> None:
    assert resolved({"validation-size": "0.1 × validation-size"}, "quick", "mnist")["validation-size"] == 10
    assert resolved({"validation-size": "0.001 × validation-size"}, "quick", "mnist")["validation-size"] == 1
    assert resolved({"epsilon": "2 × epsilon"}, "quick", "photos")["epsilon"] == 1
    assert resolved({"dropout": 0.2}, "quick", "cifar10")["model"] == "small-cnn,dropout=0.2"
