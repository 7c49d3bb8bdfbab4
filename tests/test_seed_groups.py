"""Which runs `midstream compare` averages: those that differ in nothing but their seeds."""

from typing import Any

import pytest

from midstream.command.runs.played import PlayedRun
from midstream.command.runs.seed_groups import SeedGroup, seed_groups


def run(seed: int, **scenario: Any) -> PlayedRun:
    return PlayedRun(
        place=f"runs/{seed}",
        state="finished",
        specification={"name": f"run-{seed}", "seed": seed},
        records=[],
        result={},
        environment={"torch": "2"},
        scenario={"attacker": "level-1", **scenario},
    )


def grouped(*runs: PlayedRun) -> list[SeedGroup]:
    labels = {f"{number}": one for number, one in enumerate(runs)}
    return seed_groups(labels, {label: {} for label in labels}, each=False)


def test_a_seed_counts_once_in_a_group() -> None:
    assert [group.seeds for group in grouped(run(0), run(1), run(0), run(1), run(0))] == [[0, 1], [0, 1], [0]]


@pytest.mark.parametrize(
    "other",
    [{"surrogate": "lenet"}, {"surrogate-epochs": 3}, {"surrogate-train-size": 9}, {"surrogate-seed": 1}],
)
def test_runs_with_different_surrogates_are_not_averaged(other: dict[str, Any]) -> None:
    assert len(grouped(run(0), run(1))) == 1
    assert len(grouped(run(0), run(1, **other))) == 2
