"""Grid files: YAML like a scenario file, but a setting may have a list of values."""

from collections.abc import Iterator
from pathlib import Path

import click
import yaml

from midstream.command.sweep.axes import GridError
from midstream.console.scenario import MOST

_NULL = "tag:yaml.org,2002:null"

Texts = dict[str, list[str | None]]
"""Values by setting, each as the text that follows its flag; None for the default."""


def read_grids(path: Path) -> list[Texts]:
    """Read the grids of a file, one per YAML document.

    Each document is one mapping from a setting to a value or a list of values. The trials of several
    documents are played as one sweep.

    Raises:
        GridError: the file is too large, not text, or not such a mapping.
    """
    with path.open("rb") as file:
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise GridError(f"{path} is not a grid: it is larger than {MOST // 1024} KiB")
    try:
        documents = [node for node in yaml.compose_all(content.decode(), yaml.SafeLoader) if node]
        grids = [dict(_settings(node)) for node in documents]
    except GridError as error:
        raise GridError(f"{path} is not a grid: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise GridError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return grids


def grid_argument(_: click.Context, __: click.Parameter, path: Path | None) -> list[Texts]:
    """Click callback: return the grids of a file; one empty grid if there is no file."""
    try:
        return [{}] if path is None else read_grids(path)
    except GridError as error:
        raise click.UsageError(str(error)) from error


def _settings(node: yaml.Node) -> Iterator[tuple[str, list[str | None]]]:
    if not isinstance(node, yaml.MappingNode):
        raise GridError("it must hold settings as 'name: value' or 'name: [value, value]'")
    seen: set[str] = set()
    for key, value in node.value:
        name = _text(key)
        if name is None or name in seen:
            raise GridError(f"line {_line(key)} sets {name or 'nothing'}" + " again" * (name in seen))
        seen.add(name)
        values = value.value if isinstance(value, yaml.SequenceNode) else [value]
        yield name, [_text(one) for one in values]


def _text(node: yaml.Node) -> str | None:
    if not isinstance(node, yaml.ScalarNode):
        raise GridError(f"line {_line(node)} nests values; a setting has a value or a list of values")
    return None if node.tag == _NULL else str(node.value)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
