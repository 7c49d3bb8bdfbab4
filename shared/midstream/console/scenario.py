"""Scenario files: the options of `midstream play` as `name: value`, one per line."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
import yaml

from midstream.errors import MidstreamError

MOST = 64 * 1024
"""Size limit of a scenario file in bytes, about a hundred times the size that `midstream play` writes."""

_NULLS = ("", "~", "null", "Null", "NULL")


class ScenarioError(MidstreamError, ValueError):
    """A file is not a valid scenario; the message gives the place and the reason."""


def read_settings(path: Path) -> dict[str, str]:
    """Read a scenario file's settings by name, each as the text that follows its flag on a command line.

    A scenario is one flat YAML mapping of single values; null leaves a setting unset. Anchors, aliases (which
    can expand a small file without limit), tags and nested values are refused before they are evaluated.

    Raises:
        ScenarioError: the file is too large, not text, not such a mapping, or sets a name twice.
    """
    try:
        return _settings(_text(path))
    except ScenarioError as error:
        raise ScenarioError(f"{path} is not a scenario: {error}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: malformed numbers
        raise ScenarioError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def read_values(path: Path) -> dict[str, object]:
    """Read a scenario file's settings with YAML's types, for example numbers; see `read_settings`."""
    written = read_settings(path)
    values: dict[str, Any] = yaml.safe_load(_text(path)) or {}
    return {str(name): value for name, value in values.items() if str(name) in written}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise ScenarioError(f"it is larger than {MOST // 1024} KiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ScenarioError(
            f"byte {error.start} is {content[error.start]:#04x}, which is not UTF-8 text"
        ) from error


def _settings(text: str) -> dict[str, str]:
    events = (event for event in yaml.parse(text) if not isinstance(event, _FRAME))
    first = next(events, None)
    if first is None or (isinstance(first, yaml.ScalarEvent) and _is_null(first)):
        return {}
    if not isinstance(first, yaml.MappingStartEvent):
        raise ScenarioError("it must hold settings as 'name: value', one per line")
    _refuse(first)
    settings: dict[str, str] = {}
    seen: dict[str, int] = {}
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        name, value = _scalar(event), _scalar(next(events))
        if name.value in seen:
            raise ScenarioError(
                f"line {_line(name)} sets {name.value} again; line {seen[name.value]} already sets it"
            )
        seen[name.value] = _line(name)
        if not _is_null(value):
            settings[name.value] = value.value
    if (more := next(events, None)) is not None:
        raise ScenarioError(f"a second document begins at line {_line(more)}; only one is allowed")
    return settings


_FRAME = (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent, yaml.StreamEndEvent)


def _scalar(event: yaml.Event) -> yaml.ScalarEvent:
    _refuse(event)
    if not isinstance(event, yaml.ScalarEvent):
        raise ScenarioError(f"line {_line(event)} nests values; a setting has a single value")
    return event


def _refuse(event: yaml.Event) -> None:
    if (anchor := getattr(event, "anchor", None)) is not None:
        raise ScenarioError(f"line {_line(event)} has the anchor or alias {anchor!r}; write the value itself")
    if (tag := getattr(event, "tag", None)) is not None:
        raise ScenarioError(f"line {_line(event)} has the tag {tag!r}; write the value without it")


def _is_null(event: yaml.ScalarEvent) -> bool:
    return event.style is None and event.value in _NULLS


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def read_scenario(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Set a command's defaults from a scenario file, whose names are the command's options.

    Raises:
        click.UsageError: the file is not a scenario, or sets an unknown option.
    """
    if path is None:
        return None
    try:
        settings = read_settings(path)
    except ScenarioError as error:
        raise click.UsageError(str(error)) from error
    known = dict(_options(context.command))
    if unknown := settings.keys() - known.keys():
        nearest = [get_close_matches(key, known, n=1) for key in sorted(unknown)]
        hints = [f"{names[0]!r}" for names in nearest if names]
        raise click.UsageError(
            f"{path} sets {', '.join(sorted(unknown))}, but this command has no such option"
            + (f"; did you mean {', '.join(hints)}?" if hints else "")
        )
    context.default_map = {known[name]: value for name, value in settings.items()}
    return path


def _options(command: click.Command) -> Iterator[tuple[str, str]]:
    """Yield each option's flag without dashes, and its parameter name."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name is not None:
            yield from ((flag.lstrip("-"), parameter.name) for flag in parameter.opts)
