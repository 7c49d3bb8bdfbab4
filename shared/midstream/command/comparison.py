"""`midstream compare`: compare several runs."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midstream.command.inspection import output_options, write_files
from midstream.console.service_options import reading_options, token_of

if TYPE_CHECKING:
    from rich.table import Table

    from midstream.command.played import PlayedRun

_WIDE = 200  # columns, if standard output is not a terminal

_ATTACK = ("attacker", "attack-epsilon", "attack-norm")
_ENVIRONMENT = (
    "midstream",
    "torch",
    "device",
    "device_name",
    "cpu_capability",
    "threads",
    "derivatives",
    "dataset_sha256",
)


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN…")
@output_options
@reading_options
def command(
    runs: tuple[str, ...],
    plot: Path | None,
    tensorboard: Path | None,
    as_json: bool,
    token_file: Path | None,
    ca: Path | None,
) -> None:
    """Compare runs: the settings that differ between them, and their results.

    Each RUN is a run folder (the run may be unfinished) or the URL of a run on a server.

    \b
    Example: midstream compare runs/demo/clean runs/demo/attacked runs/demo/defended --plot compared.png
    """
    from rich.console import Console

    from midstream.command.played import read_runs
    from midstream.command.summary import summary

    if len(runs) < 2:
        raise click.UsageError("compare needs at least two runs; use 'midstream inspect' for one")
    if len(set(runs)) < len(runs):
        raise click.UsageError("the same run is given twice")
    found = read_runs(runs, token=token_of(token_file), ca=ca)
    numbers = {label: summary(run) for label, run in found.items()}
    varied = differences(found)
    if as_json:
        click.echo(json.dumps({"differences": varied, "runs": numbers}))
    else:
        console = Console(highlight=False)
        Console(highlight=False, width=None if console.is_terminal else _WIDE).print(_table(numbers, varied))
    write_files(found, plot=plot, tensorboard=tensorboard)


def differences(runs: Mapping[str, "PlayedRun"]) -> dict[str, dict[str, Any]]:
    """Return the settings that differ between runs: `{setting: {label: value}}`.

    The comparison covers the specification, the attacker's settings and those parts of the environment that
    affect bits. A server reports neither attacker nor environment, so runs from a server lack the latter two.
    """
    specifications = {label: run.specification | {"name": None} for label, run in runs.items()}
    attackers = {label: _of(run.scenario, _ATTACK) for label, run in runs.items()}
    environments = {label: _of(run.environment, _ENVIRONMENT) for label, run in runs.items()}
    varied: dict[str, dict[str, Any]] = {}
    for compared in (attackers, specifications, environments):
        known = {label: settings for label, settings in compared.items() if settings is not None}
        for name in dict.fromkeys(name for settings in known.values() for name in settings):
            if len({str(settings.get(name)) for settings in known.values()}) > 1:
                varied[name] = {label: known.get(label, {}).get(name) for label in runs}
    return varied


def _of(settings: Mapping[str, Any] | None, names: Sequence[str]) -> dict[str, Any] | None:
    return None if settings is None else {name: settings.get(name) for name in names}


def _table(numbers: Mapping[str, dict[str, Any]], varied: Mapping[str, Mapping[str, Any]]) -> "Table":
    from rich import box
    from rich.table import Table

    from midstream.command.curves import sparkline

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("run", *(re.sub("[_-]", " ", name) for name in varied), "test accuracy"):
        table.add_column(heading, overflow="fold")
    for heading in ("at the end", "at best", "val. loss", "steps", "training"):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, run in numbers.items():
        curve, spent = run["learning_curve"], run["seconds_per_step"]
        last, best = (curve[-1], run["best"]) if curve else ({}, {})
        table.add_row(
            _titled(label, run),
            *(_cell(values[label]) for values in varied.values()),
            sparkline([point["test_accuracy"] for point in curve], width=20),
            *(
                f"{value:.4f}" if value is not None else ""
                for value in (
                    last.get("test_accuracy"),
                    best.get("test_accuracy"),
                    last.get("validation_loss"),
                )
            ),
            str(run["steps"]),
            f"{spent['in_all']:.3g} s" if spent else "",
        )
    return table


def _titled(label: str, run: Mapping[str, Any]) -> str:
    remarks = [] if run["state"] == "finished" else [run["state"]]
    remarks += [f"{side} resumed anyway" for side, count in run["resumed_anyway"].items() if count]
    return f"{label} ({', '.join(remarks)})" if remarks else label


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
