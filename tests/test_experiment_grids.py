"""The grids that the docs measure can be played."""

from pathlib import Path

import pytest

from midstream.command.sweep.grid import trials_of
from midstream.command.sweep.grid_file import read_grids

GRIDS = sorted((Path(__file__).parent.parent / "experiments/grids").glob("*.yaml"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_a_grid_makes_trials_and_a_page_names_it(path: Path) -> None:
    trials = trials_of(read_grids(path))
    assert len(trials) > 5
    assert len({trial.name for trial in trials}) == len(trials)
    pages = (path.parents[2] / "docs").glob("*.md")
    assert any(f"experiments/grids/{path.name}" in page.read_text(encoding="utf-8") for page in pages)
