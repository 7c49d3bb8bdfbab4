"""The settings of a game from Python. They are those of `midstream play`, which declares them once."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, Literal, TypedDict

import click
from click.core import ParameterSource

from midstream import plugins
from midstream.command.games.game import GamePlan
from midstream.command.games.playing import plan_of
from midstream.command.play import command
from midstream.errors import MidstreamError
from midstream.players.checking import Checker, Gate
from midstream.players.interface import Player

Own = Player | type[Player]


class SettingError(MidstreamError, ValueError):
    """A setting of a game does not exist, or its value is out of range; the message says what to write."""


class Settings(TypedDict, total=False):
    """The settings of a game by name: the options of `midstream play`, with underscores for dashes.

    `midstream play --help` and `help(midstream.play)` describe each one. A setting that is not given has the
    value that the command would take: the environment variable `MIDSTREAM_…`, the scenario's, or the default.
    Only `transport` has a default of its own, `local`.
    """

    scenario: Path | str | None
    dataset: str | None
    image_size: int | None
    model: str | None
    loss: str | None
    batch_norm: Literal["refuse", "evaluation", "training", "training-with-v"] | None
    train_size: int | None
    validation_size: int | None
    batch_size: int | None
    batch_sizes: Literal["exact", "any"] | None
    epochs: int | None
    max_steps: int | None
    chunk_size: int | None
    capture: bool | None
    optimizer: str | None
    lr: float | None
    schedule: str | None
    clip_norm: float | None
    accumulate: int | None
    augment: str | None
    augment_at: Literal["before", "after", "both"] | None
    epsilon: float | None
    norm: Literal["l2", "linf"] | None
    pixel_range: Literal["valid", "unbounded"] | None
    seed: int | None
    target: int | None
    access: Literal["white-box", "black-box"] | None
    evaluate_every: int | None
    attacker: str | Own | None
    defender: str | Own | None
    checker: str | Checker | Gate | type[Checker] | None
    attack_epsilon: float | None
    attack_norm: Literal["l2", "linf"] | None
    on_error: Literal["stop", "pass-clean"] | None
    gradient: Literal["server", "own"] | None
    transport: Literal["http", "local"] | None
    signed: Literal["provider", "attacker"] | None
    data_root: Path | str | None
    download: bool | None
    surrogate: str | None
    surrogate_epochs: int | None
    surrogate_train_size: int | None
    surrogate_seed: int | None
    cache: Path | str | None
    out: Path | str | None
    run: str | None
    resume: bool | None
    device: str | None
    threads: int | None
    precision: Literal["float32", "tf32", "bfloat16"] | None


TRANSPORT = "local"
"""The transport of a game from Python, if nothing else is chosen."""

_OF_THE_COMMAND = ("as_json", "show_config", "list", "help", "reduce")
"""How the command prints, and how the processes of `torchrun` add up; not what it plays."""


def known() -> dict[str, click.Parameter]:
    """Return the command's parameter behind each setting, by the setting's name."""
    return {_name(parameter): parameter for parameter in command.params if _is_setting(parameter)}


def plan_from(given: Mapping[str, object]) -> tuple[GamePlan, bool]:
    """Return the plan that settings describe, and whether a finished game in its folder is its result.

    Args:
        given: values by name, see `Settings`; None leaves a setting unset.

    Raises:
        SettingError: there is no such setting, a value is out of range, or two do not fit together.
        midstream.plugins.PluginError: there is no such attacker, defender or checker, or an object is none.
    """
    settings, own = dict(given), dict[str, Any]()
    for setting, kind in (("attacker", "attackers"), ("defender", "defenders")):
        value = settings.get(setting)
        if value is not None and not isinstance(value, str):
            settings[setting], own[setting] = plugins.given(kind, value)  # type: ignore[arg-type]
    if (checker := settings.get("checker")) is not None and not isinstance(checker, str):
        own["checker"] = gate = plugins.given_checker(checker)
        settings["checker"] = gate.name
    try:
        context = command.make_context("play", list(_words(settings)))
        values = {name: value for name, value in context.params.items() if name not in _OF_THE_COMMAND}
        values |= {str(known()[name].name): False for name, value in settings.items() if value is False}
        if context.get_parameter_source("transport") is ParameterSource.DEFAULT:
            values["transport"] = TRANSPORT
        resume = values.pop("resume")
        _refuse_own(own, values)
        plan = plan_of(
            values,
            resume=resume,
            attacking=own.get("attacker"),
            defending=own.get("defender"),
            checking=own.get("checker"),
        )
    except click.ClickException as error:
        raise SettingError(error.format_message()) from error
    return plan, resume


def _refuse_own(own: Mapping[str, object], values: Mapping[str, object]) -> None:
    for setting in own:
        if values["transport"] != "local":
            raise SettingError(
                f"{setting} is an object of this process, which other processes cannot use: play with "
                f"transport='local', or name it as module:Class or path/file.py:Class"
            )
    if "attacker" in own and values["access"] == "black-box":
        raise SettingError(
            "attacker is an object, and a black-box game trains several attackers: name it as module:Class "
            "or path/file.py:Class"
        )


def _words(settings: Mapping[str, object]) -> Iterator[str]:
    """Yield the settings as the command's words."""
    parameters = known()
    for name, value in settings.items():
        if name not in parameters:
            raise SettingError(_unknown(name, parameters))
        if value is None:
            continue
        parameter = parameters[name]
        flag = parameter.opts[0]
        if isinstance(parameter, click.Option) and parameter.is_flag:
            if not isinstance(value, bool):
                raise SettingError(f"{name} is {value!r}; it must be True or False")
            yield from [flag] if value else parameter.secondary_opts[:1]
        elif isinstance(parameter, click.Argument):
            yield str(value)
        else:
            yield f"{flag}={value}"


def _unknown(name: str, parameters: Mapping[str, click.Parameter]) -> str:
    inside = {parameter.name: setting for setting, parameter in parameters.items()}
    near = [inside[name]] if name in inside else get_close_matches(name, parameters, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"there is no setting {name!r}{hint or '.'} The settings are {', '.join(parameters)}."


def _name(parameter: click.Parameter) -> str:
    return parameter.opts[0].lstrip("-").replace("-", "_")


def _is_setting(parameter: click.Parameter) -> bool:
    return parameter.name not in _OF_THE_COMMAND


def signature() -> Signature:
    """Return the signature that the settings make, with the command's defaults."""
    defaults = {name: _default(parameter) for name, parameter in known().items()}
    return Signature(
        [
            Parameter(name, Parameter.KEYWORD_ONLY, default=default)
            for name, default in {**defaults, "follow": None}.items()
        ]
    )


def _default(parameter: click.Parameter) -> object:
    default = TRANSPORT if parameter.name == "transport" else parameter.default
    return default if isinstance(default, str | int | float | bool) else None


def described() -> str:
    """Return one line per setting, with its meaning and its default."""
    lines = []
    for name, parameter in known().items():
        meaning = getattr(parameter, "help", None) or "a YAML file that sets any of the others."
        default = _default(parameter)
        shown = f" Default: {default!r}." if default not in (None, False) else ""
        lines.append(f"    {name}: {meaning}{shown}")
    return "\n".join(lines)
