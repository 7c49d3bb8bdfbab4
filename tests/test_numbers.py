"""A number that is none, or has no end, is refused by name before a game, whichever option it is of."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError

from midstream import plugins
from midstream.command.main import cli
from midstream.plugins import PluginError
from midstream.protocol.specification import Specification

Side = Literal["attackers", "defenders"]
NEEDED = {
    **{"level-k": "k=2", "conversion": "target=1", "evasion": "target=1"},
    "replay": f"path={Path(__file__).with_name('poison.npy')}",
}
INFINITE = {("level-k", option) for option in ("step_size", "opponent_step_size", "share")}
"""Steps that may go to the ball's edge, however far that is."""


def numbers() -> Iterator[tuple[Side, str, str]]:
    """Yield every option of every player that is a number."""
    sides: tuple[Side, ...] = ("attackers", "defenders")
    for side in sides:
        for name in plugins.names(side):
            player = plugins.find(side, name)
            hints = get_type_hints(player.__init__)
            for option in inspect.signature(player).parameters:
                if hints[option] is float or float in get_args(hints[option]):
                    yield side, name, option


@pytest.mark.parametrize(("side", "name", "option"), list(numbers()))
def test_no_option_of_a_player_takes_what_is_no_number(side: Side, name: str, option: str) -> None:
    others = NEEDED.get(name, "")
    for value in ("nan", "inf", "-inf", "1e400"):
        if (name, option) in INFINITE and value in ("inf", "1e400"):
            continue
        text = ",".join(filter(None, (name, others, f"{option}={value}")))
        with pytest.raises(PluginError, match=rf"{option}|step size"):
            plugins.make(side, text)


@pytest.mark.parametrize(
    ("side", "text", "words"),
    [
        ("attackers", "level-2-closed-form,learning_rate=-1", "learning_rate must be above 0 and finite"),
        ("defenders", "optimal-contraction,learning_rate=-1", "learning_rate must be above 0 and finite"),
        ("attackers", "level-2,opponent_epsilon=-2", "opponent_epsilon is a radius"),
        ("attackers", "cw,confidence=-1", "confidence must be finite and at least 0"),
    ],
)
def test_a_number_of_the_wrong_sign_is_refused(side: Side, text: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        plugins.make(side, text)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


FLAGS = [
    ("play", "--epsilon"),
    ("play", "--attack-epsilon"),
    ("play", "--lr"),
    ("estimate", "--epsilon"),
    ("estimate", "--c"),
    ("serve", "--epsilon"),
    ("attack", "--epsilon"),
    ("provide", "--give-up-after"),
    ("prepare", "--epsilon"),
    ("robustness", "--epsilon"),
]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
@pytest.mark.parametrize(("command", "flag"), FLAGS)
def test_no_flag_takes_what_is_no_number(command: str, flag: str, value: str) -> None:
    place = {"prepare": ["vae"], "robustness": ["."]}.get(command, [])
    ended = run(command, *place, f"{flag}={value}")
    assert ended.exit_code == 2, ended.output
    last = ended.output.splitlines()[-1]
    assert flag in last
    assert f"{float(value)} is not a" in last


def test_nor_does_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDSTREAM_EPSILON", "nan")
    ended = run("play")
    assert ended.exit_code == 2
    assert "--epsilon" in ended.output
    assert "nan is not a" in ended.output


@pytest.mark.parametrize("field", ["epsilon", "learning_rate"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_nor_does_a_specification(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=rf"{field}\n  Input should be a finite number"):
        Specification.model_validate_json(f'{{"{field}": {value}}}')
