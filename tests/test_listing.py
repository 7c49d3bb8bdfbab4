"""Each installed method says in its first line where it is from, and where the paper's Table 1 has it."""

import inspect
import re
from typing import Literal

import pytest
from click.testing import CliRunner

from midstream import plugins
from midstream.command.play import command

Side = Literal["attackers", "defenders", "checkers"]
SIDES: tuple[Side, ...] = ("attackers", "defenders", "checkers")

FORM = re.compile(
    r".+ \((?P<source>[^;()]+); (?P<table>Table 1: level (\d|k)|not in Table 1(: level (\d|k))?)\)\."
)
"""What it does, and in brackets its source and its place: what `midstream play --list` prints of it."""

TABLE_1 = {
    "attackers": {
        **{"none": "0", "level-1": "1", "level-k": "k", "level-2-closed-form": "2", "influence": "2"},
        **{"deep-confuse": "1", "fgsm": "1", "atn": "1"},
        **{"vat": "2", "second-order": "2", "curvature": "2", "pgd": "k"},
    },
    "defenders": {
        **{"none": "0", "level-1": "1", "level-k": "k", "level-2-closed-form": "2", "influence": "2"},
        **{"gan": "k"},
    },
    "checkers": {},
}
"""The table itself, by the names here."""


def ours(side: Side) -> list[str]:
    """Return the installed names that this project brings."""
    modules = {name: plugins.find(side, name).__module__ for name in plugins.names(side)}
    return [name for name, module in modules.items() if module.partition("_")[0].startswith("midstream")]


def first_line(player: object) -> str:
    return (inspect.getdoc(player) or "").partition("\n")[0]


METHODS = [(side, name) for side in SIDES for name in ours(side)]


@pytest.mark.parametrize(("side", "name"), METHODS)
def test_a_method_says_where_it_is_from(side: Side, name: str) -> None:
    line = first_line(plugins.find(side, name))
    found = FORM.fullmatch(line)
    assert found, f"{name}: {line!r} should end as '(Madry et al. 2018; Table 1: level k).' does"
    level = TABLE_1[side].get(name)
    if level is not None:
        assert found["table"] == f"Table 1: level {level}"


def test_there_are_methods() -> None:
    assert len(METHODS) > 20


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Do harm.",
        "Do harm (Madry et al. 2018).",
        "Do harm (Table 1: level 1).",
        "Do harm (; Table 1: level 1).",
        "Do harm (Madry et al. 2018; level 1).",
        "Do harm (Madry et al. 2018; Table 1: level one).",
        "Do harm (Madry et al. 2018; Table 1: level 1)",
    ],
)
def test_another_form_is_found(line: str) -> None:
    assert not FORM.fullmatch(line)


@pytest.mark.parametrize(("name", "title"), [("level-2", "level-k "), ("level-1,beta=0.9", "level-1 ")])
def test_one_player_is_listed_by_the_name_that_plays_it(name: str, title: str) -> None:
    printed = CliRunner().invoke(command, ["--list", name]).output
    assert printed.startswith(f"attacker:\n  {title}")


def test_an_unknown_player_is_looked_for_on_every_side() -> None:
    with pytest.raises(plugins.PluginError, match="did you mean 'ueraser'"):
        CliRunner().invoke(command, ["--list", "ueraserr"], catch_exceptions=False)
