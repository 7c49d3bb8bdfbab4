"""Makes the figures that are drawings, not grids of games, as `midstream figure` does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from midstream.command.figures import figure_3, figure_6, figure_8
from midstream.command.reproduce.document import Scale

_COMMANDS: Mapping[str, click.Command] = {
    "figure-3": figure_3.command,
    "figure-6": figure_6.command,
    "figure-a8": figure_8.command,
}
_QUICK: Mapping[str, dict[str, Any]] = {
    "figure-3": {"runs": 20, "checked": 1},
    "figure-6": {"runs": 2, "epochs": 2, "chosen": ("logistic",)},
    "figure-a8": {"steps": 2, "rows": 1},
}


def draw(
    context: click.Context,
    name: str,
    scale: Scale,
    *,
    out: Path,
    data_root: Path | None,
    download: bool,
    photos: Path | None,
    threads: int,
) -> None:
    """Draw a figure into a folder; the scales `cpu` and `paper` are the same."""
    given: dict[str, Any] = {
        "out": out,
        "threads": threads,
        "data_root": data_root,
        "download": download,
        "photos": photos,
    }
    command = _COMMANDS[name]
    known = {parameter.name for parameter in command.params}
    settings = {option: value for option, value in given.items() if option in known}
    context.invoke(command, **settings, **(_QUICK[name] if scale == "quick" else {}), show_config=False)
