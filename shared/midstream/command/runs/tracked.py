"""What trackers get of a run: its numbers by step, its sample images, its settings."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import click

from midstream.command.runs.played import PlayedRun
from midstream.command.runs.seed_groups import ATTACK

_Value = float | Mapping[str, float] | None
_BESIDE = ("step", "epoch")  # fields of a record that are not curves


def numbers(record: Mapping[str, _Value]) -> dict[str, float]:
    """Return every number of a step's record by name; what a player reports is `attacker/NAME`.

    >>> numbers({"step": 1, "loss": 2.0, "test_accuracy": None, "attacker": {"fitness": 3.0}})
    {'loss': 2.0, 'attacker/fitness': 3.0}
    """
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{reported}": number for reported, number in value.items()}
        elif value is not None and name not in _BESIDE:
            found[name] = value
    return found


def training_times(run: PlayedRun) -> list[float]:
    """Return the seconds of training up to each step."""
    return list(accumulate(record["seconds"] for record in run.records))


def samples(run: PlayedRun) -> Iterator[tuple[int, Path]]:
    """Yield the run's sample images, each with the step after which it was drawn."""
    for path in sorted((run.folder / "samples").glob("*.png")) if run.folder else []:
        if path.stem.isdecimal() and (step := int(path.stem) + 1) <= len(run.records):
            yield step, path


def settings(run: PlayedRun) -> dict[str, str | int | float]:
    """Return the run's settings, those of the attacker included if `midstream play` played it."""
    played = run.scenario or {}
    attack = {name.replace("-", "_"): played.get(name) for name in ATTACK}
    return {name: value for name, value in (run.specification | attack).items() if value is not None}


def missing(option: str, extra: str, error: ModuleNotFoundError) -> click.ClickException:
    """Return the error that says which package an option needs."""
    return click.ClickException(
        f"{option} needs the package {error.name!r}: pip install 'midstream[{extra}]'"
    )
