"""The games that README.md and docs/ show can be played: each command line as written, but for two steps.

What needs another machine, a GPU or data is played elsewhere: the services by hand in tests/services, the
containers by `make compose-test`, the examples' check by test_examples.py. The pages' Python is run by
test_python_in_pages.py.
"""

import re
import tomllib
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_lines import ROOT, shown, simple_commands, workspace

from midstream.command.main import cli
from midstream.command.sweep import grid, sweeping
from midstream.command.sweep.events import Ended, Event
from midstream.command.sweep.grid import trials_of
from midstream.command.sweep.grid_file import read_grids
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial
from midstream.command.sweep.trial_game import played
from midstream.players.course import Course, Ground, Learner, begin
from midstream.run.pretrained import prepared

pytestmark = [pytest.mark.process, pytest.mark.slow]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLAYED = ("play", "estimate")
SWEPT = ("sweep", "results")
# Placeholders, and what this machine may not have.
ELSEWHERE = re.compile(
    r"DIR\b|mnist|folder:|cuda|gpu|--engine ray|laptop|--list|signed|adversarial|--show-config"
)


def lines(page: Path, names: tuple[str, ...] = PLAYED) -> list[list[str]]:
    commands = [words for line in shown(page.read_text(encoding="utf-8")) for words in simple_commands(line)]
    return [
        words
        for words in commands
        if words[0] == "midstream" and words[1] in names and not ELSEWHERE.search(" ".join(words))
    ]


# Sweeps of other pages take hours; their grids are read by test_experiment_grids.py.
SWEEPS = [ROOT / "docs" / name for name in ("tutorial.md", "sweeps.md")]
GAMES = sorted({" ".join(words) for page in PAGES for words in lines(page)})


@pytest.fixture(autouse=True)
def briefly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings that a command line does not name come from the environment; what learns takes two steps."""
    workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings = {"MAX_STEPS": "2", "TRANSPORT": "local", "THREADS": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"MIDSTREAM_{name}", value)
    for name in ("OUT", "CACHE"):
        monkeypatch.setenv(f"MIDSTREAM_{name}", str(tmp_path / name))

    def short_course(learner: Learner, ground: Ground) -> Course:
        return replace(begin(learner, ground), steps=2)

    monkeypatch.setattr(prepared, "begin", short_course)


@pytest.mark.parametrize("line", GAMES)
def test_a_game_can_be_played(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "black-box" in line:
        monkeypatch.setenv("MIDSTREAM_SURROGATE_EPOCHS", "1")
    cli.main(line.split()[1:], standalone_mode=False)


def test_pages_show_games() -> None:
    assert len(GAMES) > 10


def play_here(trials: Sequence[Trial], place: Place, **_: object) -> Generator[Event | None]:
    """Play a sweep's trials in this process, which need not start workers."""
    for trial in trials:
        yield Ended(trial.name, played(trial, place, lambda *_: None))


@pytest.mark.parametrize("page", SWEEPS, ids=lambda page: page.name)
def test_a_pages_sweeps_can_be_played_in_its_order(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "play_on_workers", play_here)
    monkeypatch.setattr(grid, "_seeds", lambda _: [0, 1])  # two are enough for a deviation
    commands = lines(page, SWEPT)
    assert len(commands) > 1
    for words in commands:
        cli.main(words[1:], standalone_mode=False)


def blocks(language: str) -> list[Any]:
    """Return page and content of each block of a language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [
        pytest.param(block, id=f"{page.name}: {block[:30]}")
        for page in PAGES
        for block in fence.findall(page.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("block", blocks("yaml"))
def test_a_scenario_can_be_played(block: str, tmp_path: Path) -> None:
    settings = yaml.safe_load(block)
    (tmp_path / "scenario.yaml").write_text(block)
    if "seeds" in settings:
        assert trials_of(read_grids(tmp_path / "scenario.yaml"))
        return
    cli.main(["play", str(tmp_path / "scenario.yaml")], standalone_mode=False)


@pytest.mark.parametrize("block", blocks("toml"))
def test_a_table_is_one_of_the_project(block: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for group, names in tomllib.loads(block)["project"]["entry-points"].items():
        assert names.items() <= project["entry-points"][group].items()
