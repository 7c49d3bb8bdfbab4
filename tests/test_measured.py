"""What inspect, compare, report, sweeps and the progress bar say of a run that has no accuracy."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import midstream
from midstream.command.demo import _table
from midstream.command.main import cli
from midstream.command.runs.played import read_run
from midstream.command.runs.report import report
from midstream.command.runs.seed_groups import seed_groups
from midstream.command.runs.summary import summary


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[midstream.GameResult]:
    """Return two games of a regression that differ in their seed."""
    sizes: dict[str, Any] = {"train_size": 40, "validation_size": 40, "batch_size": 20, "epochs": 2}
    return [
        midstream.play(
            **sizes,
            dataset="diabetes",
            attacker="level-1",
            seed=seed,
            out=tmp_path_factory.mktemp("runs"),
            run=f"seed-{seed}",
            threads=1,
            device="cpu",
            follow=lambda *_: None,
        )
        for seed in range(2)
    ]


def said(*words: object) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_inspect_shows_the_curve_of_r2(played: list[midstream.GameResult]) -> None:
    shown = said("inspect", played[0].run)
    assert f"test R² {played[0].score[1]:.4f} at step 4; best" in shown
    assert "test RMSE" in shown
    assert "test acc." not in shown
    numbers = json.loads(said("inspect", played[0].run, "--json"))
    assert numbers["best"]["test_r2"] >= numbers["learning_curve"][-1]["test_r2"] == played[0].score[1]


def test_runs_of_a_regression_are_compared_by_r2(played: list[midstream.GameResult], tmp_path: Path) -> None:
    runs = {result.run: read_run(result.run) for result in played}
    (group,) = seed_groups(runs, {name: summary(run) for name, run in runs.items()}, each=False)
    ends = [result.score[1] for result in played]
    found = group.end(group.judged)
    assert group.judged == "test_r2"
    assert found is not None
    assert found.mean == pytest.approx(sum(ends) / 2)
    assert {"test_r2", "best_test_r2"} <= group.document().keys()
    plot = tmp_path / "curves.svg"
    assert "test R²" in said("compare", played[0].run, played[1].run, "--plot", plot)
    assert plot.stat().st_size > 0


def test_a_report_and_a_notebook_show_r2(played: list[midstream.GameResult]) -> None:
    page = report({"mine": read_run(played[0].run)})
    assert ">test R²</th>" in page
    assert "Test R², validation loss" in page
    assert "test accuracy" not in page.lower()
    cell = played[0]._repr_html_()
    assert "test R² over 4 steps" in cell
    assert "test RMSE" in cell


def test_the_table_of_the_demo_is_of_r2(played: list[midstream.GameResult]) -> None:
    clean, attacked = played
    table = _table("diabetes", {"clean": clean, "attacked": attacked, "defended": clean})
    cells = {str(column.header): list(column.cells) for column in table.columns}
    lost = clean.score[1] - attacked.score[1]
    assert cells["R²"] == [f"{one.score[1]:.3f}" for one in (clean, attacked, clean)]
    assert cells["lost"] == ["", f"{lost:.3f}", f"{0:.3f}"]
    assert cells["won back"] == ["", "", f"{lost:.3f}"]
