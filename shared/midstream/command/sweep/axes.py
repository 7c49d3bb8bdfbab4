"""The settings that a sweep varies: the options of `midstream play` that a result depends on."""

from collections.abc import Mapping, Sequence

import click

from midstream.command import play
from midstream.errors import MidstreamError

Value = str | int | float | None
"""The value of a setting, as in a scenario file or as in Python."""

Axes = Mapping[str, Value | Sequence[Value]]
"""Settings by name, each with one or several values; `seeds: 5` stands for the seeds 0 to 4."""

SEEDS = "seeds"

OF_THE_MACHINE = ("out", "name", "resume", "transport", "device", "threads", "data_root", "download", "cache")
"""Options of `midstream play` that say where and how a game is played; its result does not depend on them."""


class GridError(MidstreamError, ValueError):
    """A grid is not valid; the message names the setting and the reason."""


def axes_of_play() -> dict[str, click.Option]:
    """Return the options of `midstream play` that a result depends on, by flag without dashes.

    >>> "epsilon" in axes_of_play(), "device" in axes_of_play()
    (True, False)
    """
    return {
        parameter.opts[0].lstrip("-"): parameter
        for parameter in play.command.params
        if isinstance(parameter, click.Option)
        and parameter.expose_value
        and parameter.name not in (*OF_THE_MACHINE, "as_json", "show_config", "capture", "reduce")
    }
