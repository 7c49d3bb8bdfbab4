"""`midstream compare`: compare several runs."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import click

from midstream.command.runs.inspection import output_options, track
from midstream.console.service_options import reading_options, token_of

if TYPE_CHECKING:
    from rich.table import Table

    from midstream.command.results.spread import Spread
    from midstream.command.runs.played import PlayedRun
    from midstream.command.runs.seed_groups import SeedGroup

_WIDE = 200  # columns, if standard output is not a terminal


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN…")
@click.option("--each", is_flag=True, help="Show each run by itself; runs of several seeds are one row else.")
@output_options
@reading_options
def command(
    runs: tuple[str, ...],
    each: bool,
    plot: Path | None,
    tensorboard: Path | None,
    wandb: Path | None,
    mlflow: str | None,
    as_json: bool,
    token_file: Path | None,
    ca: Path | None,
) -> None:
    """Compare runs: the settings that differ between them, and their results.

    Runs that differ only in their seeds are one row: mean ± sample standard deviation. Each RUN is a run
    folder (the run may be unfinished) or the URL of a run on a server.

    \b
    Example: midstream compare runs/demo/clean runs/demo/attacked runs/demo/defended --plot compared.png
    """
    from rich.console import Console

    from midstream.command.runs.played import read_runs
    from midstream.command.runs.seed_groups import seed_groups
    from midstream.command.runs.summary import summary

    if len(runs) < 2:
        raise click.UsageError("compare needs at least two runs; use 'midstream inspect' for one")
    if len(set(runs)) < len(runs):
        raise click.UsageError("the same run is given twice")
    found = read_runs(runs, token=token_of(token_file), ca=ca)
    numbers = {label: summary(run) for label, run in found.items()}
    varied = differences(found)
    groups = seed_groups(found, numbers, each=each)
    if as_json:
        listed = [group.document() for group in groups]
        click.echo(json.dumps({"differences": varied, "groups": listed, "runs": numbers}))
    else:
        console = Console(highlight=False)
        Console(highlight=False, width=None if console.is_terminal else _WIDE).print(_table(groups, varied))
    if plot is not None:
        from midstream.command.runs.curves import draw_groups

        draw_groups(plot, {group.label: [run.records for run in group.runs.values()] for group in groups})
        click.echo(f"plot: {plot}", err=True)
    track(found, tensorboard=tensorboard, wandb=wandb, mlflow=mlflow)


def differences(runs: Mapping[str, "PlayedRun"]) -> dict[str, dict[str, object]]:
    """Return the settings that differ between runs: `{setting: {label: value}}`.

    The comparison covers the specification, the attacker's settings and those parts of the environment that
    affect bits. A server reports neither attacker nor environment, so runs from a server lack the latter two.
    """
    from midstream.command.runs.seed_groups import ATTACK
    from midstream.run.process.affecting_bits import AFFECTING_BITS

    specifications = {label: run.specification | {"name": None} for label, run in runs.items()}
    attackers = {label: _of(run.scenario, ATTACK) for label, run in runs.items()}
    environments = {label: _of(run.environment, AFFECTING_BITS) for label, run in runs.items()}
    varied: dict[str, dict[str, object]] = {}
    for compared in (attackers, specifications, environments):
        known = {label: settings for label, settings in compared.items() if settings is not None}
        for name in dict.fromkeys(name for settings in known.values() for name in settings):
            if len({str(settings.get(name)) for settings in known.values()}) > 1:
                varied[name] = {label: known.get(label, {}).get(name) for label in runs}
    return varied


def _of(settings: Mapping[str, object] | None, names: Sequence[str]) -> dict[str, object] | None:
    return None if settings is None else {name: settings.get(name) for name in names}


def _table(groups: Sequence["SeedGroup"], varied: Mapping[str, Mapping[str, object]]) -> "Table":
    from rich import box
    from rich.table import Table

    from midstream.command.runs.curves import mean_curve, sparkline

    if any(len(group.runs) > 1 for group in groups):
        varied = {name: values for name, values in varied.items() if name != "seed"}
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("run", *(re.sub("[_-]", " ", name) for name in varied), "test accuracy"):
        table.add_column(heading, overflow="fold")
    checked = any(group.end_of_checker("auc") is not None for group in groups)
    for heading in ("at the end", "at best", "val. loss", *["AUC"] * checked, "steps", "training"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in groups:
        curve = mean_curve([run.evaluated for run in group.runs.values()], "test_accuracy")
        spent = [
            numbers["seconds_per_step"]["in_all"] for numbers in group.numbers.values() if numbers["steps"]
        ]
        table.add_row(
            _titled(group),
            *(_cell(values[group.first]) for values in varied.values()),
            sparkline([spread.mean for _, spread in curve], width=20),
            *(_spread(found) for found in (group.end("test_accuracy"), group.best())),
            _spread(group.end("validation_loss")),
            *[_spread(group.end_of_checker("auc"))] * checked,
            str(group.numbers[group.first]["steps"]),
            f"{fmean(spent):.3g} s" if spent else "",
        )
    return table


def _spread(spread: "Spread | None") -> str:
    if spread is None:
        return ""
    return f"{spread.mean:.4f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.4f}")


def _titled(group: "SeedGroup") -> str:
    runs = group.numbers.values()
    remarks = list(dict.fromkeys(run["state"] for run in runs if run["state"] != "finished"))
    resumed = [side for run in runs for side, count in run["resumed_anyway"].items() if count]
    remarks += [f"{side} resumed anyway" for side in dict.fromkeys(resumed)]
    return f"{group.label} ({', '.join(remarks)})" if remarks else group.label


def _cell(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
