"""What every command's options share: how one is declared, and where its value comes from.

A flag takes precedence over an environment variable (`MIDSTREAM_…`), which takes precedence over the scenario
file, which takes precedence over the default.
"""

import functools
import json
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from midstream import plugins
from midstream.protocol.dataset_defaults import defaults

Command = TypeVar("Command", bound=Callable[..., Any])

_SOURCES = {
    ParameterSource.COMMANDLINE: "flag",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "scenario file",
    ParameterSource.DEFAULT: "default",
}


_OF_THE_PROCESS = {"capture"}
"""Settings of the whole process, which the option's callback makes."""


def option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """Return a click option that also reads `MIDSTREAM_<NAME>`."""
    long = next(name for name in names if name.startswith("--")).partition("/")[0]
    return click.option(*names, envvar=f"MIDSTREAM_{long[2:].upper().replace('-', '_')}", **settings)


def radius(_: click.Context, __: click.Parameter, epsilon: float | None) -> float | None:
    """Click callback: return the radius of a ball.

    Raises:
        click.BadParameter: it is negative, not finite, or too large.
    """
    if epsilon is not None and not 0 <= epsilon < 1e6:
        raise click.BadParameter(f"{epsilon} is not a radius: at least 0, in pixel units")
    return epsilon


def named(kind: plugins.Kind) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return the shell completion of an option whose value is a plug-in's name."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        last = plugins.members(incomplete)[-1] if kind == "defenders" else incomplete
        before = incomplete.removesuffix(last)
        return [before + name for name in plugins.names(kind) if name.startswith(last)]

    return complete


def one_of(*names: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return the shell completion of an option whose value begins with one of several names."""
    return lambda _, __, incomplete: [name for name in names if name.startswith(incomplete)]


def together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Return one decorator that applies several; `--help` lists them in the order given."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(options):
            command = decorator(command)
        return command

    return decorate


def show_config(command: Command) -> Command:
    """Add `--show-config`: print every setting and its source instead of running the command.

    It must be the decorator next to the function, so that every option is already declared.
    """

    @click.option("--show-config", is_flag=True, help="Print every setting and its source, then exit.")
    @functools.wraps(command)
    def shown(*, show_config: bool, **settings: Any) -> None:
        if show_config:
            _print_settings(click.get_current_context(), settings)
        else:
            command(**{name: value for name, value in settings.items() if name not in _OF_THE_PROCESS})

    return shown  # type: ignore[return-value]


def _print_settings(context: click.Context, settings: dict[str, object]) -> None:
    from midstream.protocol.specification import Specification

    dataset = str(settings["dataset"] or "digits") if "dataset" in settings else None
    filled = defaults(dataset) if dataset else {}
    for parameter in context.command.params:
        if parameter.name not in settings:
            continue
        value, source = settings[parameter.name], context.get_parameter_source(parameter.name)
        where = _SOURCES.get(source, "default") if source else "default"
        if value is None and parameter.name in filled:
            value, where = filled[parameter.name], f"default of {dataset}"
        elif value is None and dataset and parameter.name in Specification.model_fields:
            value = Specification.model_fields[parameter.name].default
        flag = parameter.opts[0].lstrip("-")
        click.echo(f"{flag} = {json.dumps(value, default=str, ensure_ascii=False)}  ({where})")
