"""Options behind a name: converted by the annotations of what they are for, refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from midstream.plugins import PluginError, configured, make

PLUGIN = """
from dataclasses import dataclass


class Shift:
    def __init__(self, step: float = 0.1, repeat: int = 1, loud: bool = False, mode: str = "all", note=""):
        if step < 0:
            raise ValueError(f"step must be at least 0, not {step}")
        self.options = (step, repeat, loud, mode, note)


@dataclass(frozen=True)
class Scale:
    factor: float


def make_scale(factor: float) -> Scale:
    return Scale(2 * factor)


class Plain:
    pass


class Ready:
    def __call__(self, step: float = 1.0) -> Plain:
        return Plain()


ready = Ready()
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return str(path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", (0.1, 1, False, "all", "")),
        (",step=2", (2.0, 1, False, "all", "")),
        (",step=1e-3,repeat=4,loud=true,mode=some", (1e-3, 4, True, "some", "")),
        (",loud=false,mode=true,note=7", (0.1, 1, False, "true", "7")),
    ],
)
def test_options_are_converted_by_their_annotations(
    plugin: str, options: str, expected: tuple[object, ...]
) -> None:
    made = make("attackers", f"{plugin}:Shift{options}")
    assert made.options == expected
    assert [type(value) for value in made.options] == [type(value) for value in expected]


def test_dataclasses_functions_and_plain_classes(plugin: str) -> None:
    assert make("attackers", f"{plugin}:Scale,factor=3").factor == 3.0
    assert make("attackers", f"{plugin}:make_scale,factor=3").factor == 6.0
    assert type(make("attackers", f"{plugin}:Plain")).__name__ == "Plain"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("step=far", "option 'step' of {name!r} is 'far', not a number"),
        ("repeat=1.5", "option 'repeat' of {name!r} is '1.5', not a whole number"),
        ("loud=yes", "option 'loud' of {name!r} is 'yes', not true or false"),
        ("stp=1", "there is no option of attacker {name!r} called 'stp'; did you mean 'step'?"),
        ("self=1", "there is no option of attacker {name!r} called 'self'"),
        ("step=-1", "attacker '{name},step=-1': step must be at least 0, not -1.0"),
    ],
)
def test_an_option_that_is_none(plugin: str, options: str, message: str) -> None:
    name = f"{plugin}:Shift"
    with pytest.raises(PluginError) as caught:
        make("attackers", f"{name},{options}")
    assert message.format(name=name) in str(caught.value)


def test_a_missing_option(plugin: str) -> None:
    with pytest.raises(PluginError, match=r"plugin\.py:Scale': .*missing 1 required .*'factor'"):
        make("attackers", f"{plugin}:Scale")


def test_an_option_where_there_are_none(plugin: str) -> None:
    with pytest.raises(PluginError, match=r"called 'step'\. There are none\."):
        make("attackers", f"{plugin}:Plain,step=1")


def test_an_object_that_can_be_called(plugin: str) -> None:
    assert type(make("attackers", f"{plugin}:ready,step=2")).__name__ == "Plain"


def test_what_the_caller_passes_is_no_option() -> None:
    model = configured("models", "digits-cnn,dropout=0.5", given=2)((1, 8, 8), 3)
    assert model(torch.rand(1, 1, 8, 8)).shape == (1, 3)
    with pytest.raises(
        PluginError, match=r"no option of model 'digits-cnn' called 'classes'\. Known: dropout"
    ):
        configured("models", "digits-cnn,classes=3", given=2)
    with pytest.raises(PluginError, match="option 'dropout' of 'digits-cnn' is 'half', not a number"):
        configured("models", "digits-cnn,dropout=half", given=2)


@pytest.mark.parametrize("allowed", [[], None])
def test_allowed_reaches_the_search(plugin: str, allowed: list[str] | None) -> None:
    def build() -> Any:
        return make("attackers", f"{plugin}:Plain", allowed=allowed)

    if allowed is None:
        assert type(build()).__name__ == "Plain"
    else:
        with pytest.raises(PluginError, match="was not told to load"):
            build()
