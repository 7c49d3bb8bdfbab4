"""Options behind a name: converted by the annotations of what they are for, refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from midstream.plugins import PluginError, configured, make

PLUGIN = """
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


class Player:
    def perturb(self, batch, view):
        return 0 * batch.inputs


class Shift(Player):
    def __init__(self, step: float = 0.1, repeat: int = 1, loud: bool = False, mode: str = "all", note=""):
        if step < 0:
            raise ValueError(f"step must be at least 0, not {step}")
        self.options = (step, repeat, loud, mode, note)


@dataclass(frozen=True)
class Scale(Player):
    factor: float


def make_scale(factor: float) -> Scale:
    return Scale(2 * factor)


class Plain(Player):
    pass


class Bounds(Player):
    def __init__(self, low: float, high: float) -> None:
        pass


class Annotated(Player):
    def __init__(
        self,
        *,
        rate: float | None = None,
        where: Path = Path(),
        how: Literal["up", "down"] = "up",
        sizes: list[int] = [],
        either: int | str = 1,
    ) -> None:
        self.options = (rate, where, how)


class Unresolved(Player):
    def __init__(self, step: "Absent" = 1) -> None:
        pass


class Buggy(Player):
    def __init__(self) -> None:
        self.width = {}["width"]


class OneTooMany(Player):
    def __init__(self) -> None:
        self.perturb(None)


class Forgetful(Player):
    def state_dict(self):
        return {}


class Stranger:
    def attack(self, batch):
        return batch


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
    with pytest.raises(
        PluginError, match=r"plugin\.py:Scale' needs the option 'factor'; write .*:Scale,factor=…"
    ):
        make("attackers", f"{plugin}:Scale")
    with pytest.raises(
        PluginError, match=r"needs the options 'low' and 'high'; write .*:Bounds,low=…,high=…"
    ):
        make("attackers", f"{plugin}:Bounds")


def test_an_option_where_there_are_none(plugin: str) -> None:
    with pytest.raises(PluginError, match=r"called 'step'\. There are none\."):
        make("defenders", f"{plugin}:Plain,step=1")
    with pytest.raises(
        PluginError, match=r"called 'step'.* Known: add, adversarial, drop, dval, fraction, fraction_of, "
    ):
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


def refusal(text: str) -> str:
    with pytest.raises(PluginError) as caught:
        make("defenders", text)
    return str(caught.value)


def test_optional_numbers_paths_and_choices(plugin: str) -> None:
    made = make("attackers", f"{plugin}:Annotated,rate=2,where=a/b.pt,how=down")
    assert made.options == (2.0, Path("a/b.pt"), "down")
    assert make("attackers", f"{plugin}:Annotated,rate=none").options[0] is None
    assert "did you mean 'down'?" in refusal(f"{plugin}:Annotated,how=dwon")
    assert "option 'rate' of" in refusal(f"{plugin}:Annotated,rate=far")


@pytest.mark.parametrize(("option", "annotation"), [("sizes=1", "list[int]"), ("either=1", "int | str")])
def test_an_annotation_to_which_no_text_can_be_converted(plugin: str, option: str, annotation: str) -> None:
    message = refusal(f"{plugin}:Annotated,{option}")
    assert f"is annotated {annotation}, to which no text can be converted; use int, float" in message


def test_an_annotation_that_leads_nowhere(plugin: str) -> None:
    assert "cannot be read: NameError(\"name 'Absent'" in refusal(f"{plugin}:Unresolved")


def test_a_constructor_that_fails_is_no_bad_option(plugin: str) -> None:
    lines = Path(plugin).read_text().splitlines()
    where = 1 + lines.index('        self.width = {}["width"]')
    assert refusal(f"{plugin}:Buggy") == (
        f"defender '{plugin}:Buggy': making it failed: KeyError('width') "
        f"(plugin.py, line {where}, in __init__)"
    )
    message = refusal(f"{plugin}:OneTooMany")
    assert "making it failed: TypeError(" in message
    assert "perturb() missing 1 required positional argument" in message
    assert ", in __init__)" in message


def test_what_is_no_player(plugin: str) -> None:
    assert refusal(f"{plugin}:Stranger") == (
        f"defender '{plugin}:Stranger' is a Stranger, which has no method perturb(batch, view)"
    )


def test_half_a_memory(plugin: str) -> None:
    assert "has state_dict but no load_state_dict; a player with memory needs both" in refusal(
        f"{plugin}:Forgetful"
    )
