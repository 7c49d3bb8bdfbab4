"""A grid: settings of `midstream play`, each with one or several values; its product is a sweep's trials."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import click
from click.core import augment_usage_errors

from midstream.command import play
from midstream.command.games.playing import plan_of
from midstream.command.sweep.axes import OF_THE_MACHINE, SEEDS, Axes, GridError, Value, axes_of_play
from midstream.command.sweep.trial import Trial
from midstream.plugins.naming import unknown


def trials_of(grids: Sequence[Axes]) -> list[Trial]:
    """Return the trials of several grids: the product of each one's settings, without repetitions.

    Args:
        grids: settings by the name of their flag, with or without dashes, each with one or several values.
            None stands for the default.

    Raises:
        GridError: a setting does not exist, or a value is not valid.
        midstream.plugins.PluginError: there is no such attacker or defender.

    >>> trials = trials_of([{"attacker": ["none", "level-1"], "seeds": 3}])
    >>> [(trial.attacker, trial.specification.seed) for trial in trials]
    [('none', 0), ('none', 1), ('none', 2), ('level-1', 0), ('level-1', 1), ('level-1', 2)]
    """
    try:
        trials = [_trial(settings) for grid in grids for settings in _combinations(grid)]
    except click.ClickException as error:
        raise GridError(error.format_message()) from error
    return list({trial.name: trial for trial in trials}.values())


def _combinations(grid: Axes) -> Iterator[dict[str, object]]:
    """Yield each combination of a grid as the settings of `midstream play`, by parameter name."""
    known = axes_of_play()
    axes = {name.replace("_", "-"): _values(name, values) for name, values in grid.items()}
    if SEEDS in axes:
        axes["seed"] = _seeds(axes)
    context = click.Context(play.command)
    chosen: dict[str, list[Any]] = {}
    for name, values in axes.items():
        if name == SEEDS:
            continue
        option = known.get(name) or known.get({"learning-rate": "lr"}.get(name, name))
        if option is None:
            raise GridError(unknown("setting", name, [*known, SEEDS]))
        assert option.name is not None
        with augment_usage_errors(context, param=option):
            chosen[option.name] = [
                None if value is None else option.process_value(context, str(value)) for value in values
            ]
    unset = {str(option.name): option.to_info_dict()["default"] for option in known.values()}
    for values in product(*chosen.values()):
        given = {name: value for name, value in zip(chosen, values, strict=True) if value is not None}
        yield unset | given


def _values(name: str, values: Value | Sequence[Value]) -> Sequence[Value]:
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    if not listed:
        raise GridError(f"{name} has no values; give at least one")
    for value in listed:
        if isinstance(value, bool) or not isinstance(value, Value):
            raise GridError(f"{name} has the value {value!r}; a value is a text or a number")
    return listed


def _seeds(axes: Mapping[str, Sequence[Value]]) -> list[Value]:
    if "seed" in axes:
        raise GridError("the grid sets both seed and seeds; leave one out")
    (count, *others) = axes[SEEDS]
    if others or not str(count).isdecimal() or int(str(count)) < 1:
        raise GridError(f"seeds is {count!r}: give the number of seeds, or a list of seeds as seed")
    return list(range(int(str(count))))


def _trial(settings: Mapping[str, object]) -> Trial:
    of_the_machine = {
        **dict.fromkeys(OF_THE_MACHINE),
        "out": Path(),
        "name": "trial",
        "transport": "local" if settings["signed"] is None else "http",
        "device": "cpu",
        "download": False,
    }
    plan = plan_of({**of_the_machine, **settings}, resume=False)
    return Trial.of_plan(plan)
