"""`midstream sweep`: play the product of settings, and print a table."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click

from midstream.command.results.output_options import output_options
from midstream.command.sweep.axes import SEEDS, GridError, Value, axes_of_play
from midstream.command.sweep.grid_file import Texts, grid_argument
from midstream.command.sweep.workers.fork_server import ForkServer
from midstream.console import options
from midstream.console.finite import POSITIVE
from midstream.console.process_options import cache_option, data_options

_NAMES = {str(option.name): flag for flag, option in axes_of_play().items()}
"""The flag of each setting, by parameter name."""


def axes_options(command: options.Command) -> options.Command:
    """Add the settings of `midstream play` that a result depends on, each of them repeatable."""
    axes = [
        click.option(
            *option.opts,
            str(option.name),
            multiple=True,
            type=option.type,
            envvar=option.envvar,
            help=option.help,
            shell_complete=option._custom_shell_complete,
        )
        for option in axes_of_play().values()
    ]
    return options.together(*axes)(command)


@click.command("sweep")
@click.argument(
    "grids",
    metavar="[GRID]",
    required=False,
    callback=grid_argument,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@axes_options
@options.option("--seeds", type=click.IntRange(1), help="Play each game with the seeds 0 to SEEDS - 1.")
@options.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="results/sweep",
    show_default=True,
    help="Results folder; it holds one run folder per trial.",
)
@options.option(
    "--workers",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Number of games that are played at once.",
)
@options.option(
    "--games-per-device",
    type=click.IntRange(1),
    help="Number of games that share each GPU, side by side in one process; replaces --workers.",
)
@options.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Play on processes of this machine, or on a Ray cluster.",
)
@options.option("--address", help="Address of the Ray cluster; by default, Ray is started on this machine.")
@options.option(
    "--transport",
    type=click.Choice(["local", "http"]),
    default="local",
    show_default=True,
    help="Play each game in one process, or in three. Both give bit-identical parameters.",
)
@options.option("--hours", type=POSITIVE, help="Stop after this time; the same command goes on.")
@data_options
@cache_option
@options.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@options.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="CPU threads of each game; another number may change the last bits.",
)
@output_options
def command(
    grids: Sequence[Texts],
    seeds: int | None,
    out: Path,
    workers: int,
    games_per_device: int | None,
    engine: Literal["local", "ray"],
    address: str | None,
    transport: Literal["local", "http"],
    hours: float | None,
    data_root: Path | None,
    download: bool,
    cache: Path | None,
    device: str,
    threads: int,
    **settings: Any,
) -> None:
    """Play every combination of settings, and print mean and deviation over the seeds.

    GRID is a YAML file that gives settings of `midstream play` one value or a list of values. Flags replace
    its settings; each may be repeated. Each trial is an ordinary run in the results folder. After an
    interruption, also by kill -9, the same command goes on.

    \b
    Example: midstream sweep --attacker none --attacker level-1 --defender none --defender level-1 --seeds 3
    """
    given: dict[str, Sequence[Value]] = {
        flag: chosen for name, flag in _NAMES.items() if (chosen := settings.pop(name))
    }
    given |= {} if seeds is None else {SEEDS: [seeds]}
    if address is not None and engine != "ray":
        raise click.UsageError("--address is for --engine ray")
    with ForkServer() as server:
        if engine == "local" and "torch" not in sys.modules:
            server.start()  # it imports torch at the same time as this process
        from midstream.command.results.output import Output
        from midstream.command.sweep.grid import trials_of
        from midstream.command.sweep.place import Place
        from midstream.command.sweep.sweeping import play_trials

        try:
            trials = trials_of([_replaced(grid, given) for grid in grids])
        except GridError as error:
            raise click.UsageError(str(error)) from error
        output = Output(**settings)
        results = play_trials(
            trials,
            Place(out, transport, device, threads, data_root, download, cache),
            workers=workers,
            games_per_device=games_per_device,
            engine=engine,
            address=address,
            hours=hours,
            server=server,
        )
    output.give(results)


def _replaced(grid: Texts, given: dict[str, Sequence[Value]]) -> dict[str, Sequence[Value]]:
    """Return a grid with the settings that flags give."""
    seeded = {"seed", SEEDS} if {"seed", SEEDS} & given.keys() else set()
    kept = {name: values for name, values in grid.items() if name.replace("_", "-") not in {*given, *seeded}}
    return {**kept, **given}
