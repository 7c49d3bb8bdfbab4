"""Statistics and tables of sweeps, held against numpy and scipy."""

import json
from collections.abc import Sequence
from math import inf, isfinite, isnan, nan
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from midstream.command.results.output import Output
from midstream.command.results.paired import differences, paired_difference
from midstream.command.results.played_trial import PlayedTrial
from midstream.command.results.plots import bars, curves
from midstream.command.results.results import Results
from midstream.command.results.spread import spread
from midstream.command.results.table import Table, TableError, tabulate
from midstream.command.results.table_files import write_table
from midstream.command.sweep.grid import trials_of
from midstream.command.sweep.place import Place

ACCURACIES = [0.380, 0.412, 0.355, 0.401, 0.397]
OTHERS = [0.960, 0.955, 0.971, 0.949, 0.962]

Points = list[tuple[dict[str, str | int | float | None], float]]


def points(**axes: Sequence[str | int | float | None]) -> Points:
    """Return the product of settings, each with the number of its place as its value."""
    found: Points = [({}, 0.0)]
    for name, values in axes.items():
        found = [({**settings, name: value}, 0.0) for settings, _ in found for value in values]
    return [(settings, float(place)) for place, (settings, _) in enumerate(found)]


def test_a_spread_is_that_of_numpy() -> None:
    found = spread(ACCURACIES)
    assert found.mean == pytest.approx(np.mean(ACCURACIES), rel=1e-15)
    assert found.deviation == pytest.approx(np.std(ACCURACIES, ddof=1), rel=1e-14)
    assert found.n == 5


def test_a_single_value_has_no_deviation() -> None:
    assert (spread([0.5]).deviation, str(spread([0.5]))) == (None, "0.500")


def test_the_order_of_the_trials_changes_no_bit() -> None:
    found = {spread(order) for order in (ACCURACIES, ACCURACIES[::-1], sorted(ACCURACIES))}
    assert len(found) == 1


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_a_paired_difference_is_that_of_scipy(confidence: float) -> None:
    from scipy import stats

    found = paired_difference(OTHERS, ACCURACIES, confidence=confidence)
    test = stats.ttest_rel(OTHERS, ACCURACIES)
    interval = test.confidence_interval(confidence)
    assert found.mean == pytest.approx(np.mean(np.subtract(OTHERS, ACCURACIES)), rel=1e-14)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_one_pair_has_no_interval() -> None:
    found = paired_difference([0.9], [0.4])
    assert (found.mean, found.low, found.high, found.n) == (0.5, None, None, 1)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0])
def test_a_confidence_is_a_probability(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        paired_difference(OTHERS, ACCURACIES, confidence=confidence)


def test_pairs_have_the_same_seed() -> None:
    both: Points = [({"attacker": "a", "seed": seed}, value) for seed, value in enumerate(OTHERS)]
    both += [
        ({"attacker": "b", "seed": seed}, value) for seed, value in reversed(list(enumerate(ACCURACIES)))
    ]
    both += [({"attacker": "b", "seed": 9}, 0.0)]
    ((group, found),) = differences(both, setting="attacker", first="a", second="b", confidence=0.95)
    assert (group, found) == ({}, paired_difference(OTHERS, ACCURACIES))


def test_pairs_are_grouped_by_the_other_settings() -> None:
    both = points(attacker=["a", "b"], defender=["none", "level-1"], seed=[0, 1, 2])
    found = differences(both, setting="attacker", first="b", second="a", confidence=0.95)
    assert [(group, one.mean, one.n) for group, one in found] == [
        ({"defender": "none"}, 6.0, 3),
        ({"defender": "level-1"}, 6.0, 3),
    ]


def test_trials_that_could_both_make_a_pair_are_refused() -> None:
    both = points(attacker=["a", "b"], seed=[0, 1], sources=["a@1", "a@2"])
    with pytest.raises(
        TableError, match="two trials with attacker b and seed 0 differ only in target or sou"
    ):
        differences(both[4:], setting="attacker", first="b", second="a", confidence=0.95)


def test_a_number_is_found_however_it_is_written() -> None:
    both = points(epsilon=[1.0, 2.0], seed=[0, 1])
    for first in ("2", "2.0", "2e0", 2, 2.0):
        ((_, found),) = differences(both, setting="epsilon", first=first, second="1", confidence=0.95)
        assert found.n == 2


@pytest.mark.parametrize("extreme", [inf, nan])
def test_a_spread_with_an_extreme_value_says_so(extreme: float) -> None:
    found = spread([1.0, extreme])
    assert not isfinite(found.mean)
    assert found.deviation is not None
    assert isnan(found.deviation)


def test_values_without_pairs_are_refused() -> None:
    with pytest.raises(TableError, match="it has the values a, b"):
        differences(points(attacker=["a", "b"]), setting="attacker", first="a", second="c", confidence=0.9)


def test_rows_are_the_settings_that_vary() -> None:
    table = tabulate(
        points(attacker=["a", "b"], epsilon=[1.0, 2.0], defender=["none", "level-1"], seed=[0, 1]), value="v"
    )
    assert (table.rows, table.columns, table.over) == (("attacker", "epsilon"), ("defender",), ("seed",))
    cell = table.cell(attacker="b", epsilon=1.0, defender="level-1")
    assert cell is not None
    assert (cell.spread, cell.over) == (spread([10.0, 11.0]), (0, 1))


def test_a_setting_that_another_determines_is_no_row() -> None:
    both = points(dataset=["digits", "mnist"], seed=[0, 1])
    for settings, _ in both:
        settings["batch_size"] = {"digits": 100, "mnist": 500}[str(settings["dataset"])]
    assert tabulate(both, value="v").rows == ("dataset",)


def test_a_cell_does_not_mix_settings() -> None:
    both = points(attacker=["a", "b"], epsilon=[1.0, 2.0], seed=[0, 1])
    with pytest.raises(
        TableError, match=r"mix epsilon 1.0, 2.0; group by it with --rows epsilon, or average"
    ):
        tabulate(both, value="v", rows=["attacker"])
    table = tabulate(both, value="v", rows=["attacker"], over=["seed", "epsilon"])
    assert [cell.spread.n for cell in table.cells] == [4, 4]


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(TableError, match="did you mean 'attacker'"):
        tabulate(points(attacker=["a"]), value="v", rows=["atacker"])
    with pytest.raises(TableError, match="no finished trial"):
        tabulate([], value="v")


def test_a_missing_group_is_an_empty_cell() -> None:
    table = tabulate(points(attacker=["a", "b"], defender=["none", "c"], seed=[0])[:3], value="v")
    assert table.markdown().splitlines()[3] == "| b        | 2.000         |            |"


def test_counts_that_differ_are_shown() -> None:
    table = tabulate(points(attacker=["a", "b"], seed=[0, 1])[:3], value="v")
    assert "2.000 (n = 1)" in table.markdown()


def table() -> Table:
    return tabulate(points(attacker=["a|b", "b"], defender=["none", "c"], seed=[0, 1, 2]), value="v")


def test_a_pipe_does_not_end_a_cell() -> None:
    assert "a\\|b" in table().markdown()


def test_files_hold_the_records(tmp_path: Path) -> None:
    for name in ("t.csv", "t.md"):
        write_table(tmp_path / name, table())
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[:2] == ["attacker,defender,mean,deviation,n", "a|b,none,1.0,1.0,3"]
    assert (tmp_path / "t.md").read_text() == f"{table().markdown()}\n"
    assert json.loads(json.dumps(table().document()))["cells"] == table().records()
    with pytest.raises(TableError, match=r"\.md, \.csv, \.parquet"):
        write_table(tmp_path / "t.xls", table())


def test_parquet_holds_the_records(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is tested where pyarrow is installed")
    write_table(tmp_path / "t.parquet", table())
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == table().records()


def test_a_band_is_one_deviation_to_each_side() -> None:
    axes = curves({"a": [[(1, 0.2), (2, 0.5)], [(1, 0.4), (2, 0.9), (3, 1.0)]]}, value="v").axes[0]
    np.testing.assert_allclose(np.array(axes.lines[0].get_xydata()), np.array([[1, 0.3], [2, 0.7]]))
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    assert band[:, 1].max() == pytest.approx(0.7 + np.std([0.5, 0.9], ddof=1))


def test_an_error_bar_is_one_deviation_to_each_side() -> None:
    (first, *_) = [found for found in bars(table()).axes[0].collections if isinstance(found, LineCollection)]
    np.testing.assert_allclose(np.array(first.get_segments()[0]), np.array([[-0.2, 0.0], [-0.2, 2.0]]))


def test_numbers_make_an_axis() -> None:
    axes = bars(tabulate(points(epsilon=[2.0, 0.5], seed=[0, 1]), value="v")).axes[0]
    assert list(np.array(axes.lines[0].get_xdata())) == [0.5, 2.0]
    assert axes.get_xlabel() == "epsilon"


def test_the_caption_names_the_confidence() -> None:
    output = Output(
        "test_accuracy", (), (), (), (), None, None, None, "", ("attacker", "a", "b"), 0.999, as_json=False
    )
    text = output._as_text([({}, paired_difference(OTHERS, ACCURACIES))], "test_accuracy")
    assert "its 99.9% confidence interval" in text


@pytest.mark.parametrize(
    ("result", "value"),
    [
        ({"test_accuracy": 0.5}, "test_accuracy"),
        ({"test_accuracy": None, "measures": {"test_rmse": 2.0, "test_r2": 0.5}}, "test_r2"),
        ({"test_accuracy": None, "measures": {"test_average_precision": 0.5}}, "test_average_precision"),
    ],
)
def test_a_table_shows_what_its_trials_are_judged_by(
    tmp_path: Path, result: dict[str, object], value: str
) -> None:
    (trial,) = trials_of([{"seeds": 1}])
    found = Results((PlayedTrial(trial, tmp_path, trial.plan(Place(tmp_path)).outcome(result)),))
    assert found.table().value == found.judged == value
    assert [number for _, number in found.points()] == [0.5]


def test_trials_of_different_environments_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = []
    for number, (trial, threads) in enumerate(zip(trials_of([{"seeds": 2}]), (1, 2), strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "environment.json").write_text(json.dumps({"threads": threads, "dataset_sha256": number}))
        outcome = trial.plan(Place(tmp_path)).outcome({"test_accuracy": 0.5})
        places.append(PlayedTrial(trial, folder, outcome))
    output = Output("test_accuracy", (), (), ("seed",), (), None, None, None, "", None, 0.95, as_json=False)
    output.give(Results(tuple(places)))
    said = capsys.readouterr().err
    assert "not played with the same threads: 1 and 2; SHA-256 of digits: 0 and 1" in said
    output.give(Results(tuple(places[:1])))
    assert not capsys.readouterr().err
