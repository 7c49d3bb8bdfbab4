"""`midstream reproduce`: the paper's tables and figures, ours beside the paper's."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from midstream.command.reproduce.names import DRAWN, names
from midstream.console import options
from midstream.console.finite import POSITIVE
from midstream.console.process_options import cache_option, data_options
from midstream.errors import MidstreamError

if TYPE_CHECKING:
    from midstream.command.reproduce.document import DataSet, Scale


class ReproduceError(MidstreamError, RuntimeError):
    """Games of a table failed; the message says how many."""


@click.command("reproduce")
@click.argument("name", metavar="TABLE", type=click.Choice([*names(), *DRAWN]))
@click.option(
    "--scale",
    type=click.Choice(["quick", "cpu", "paper"]),
    default="quick",
    show_default=True,
    help="Size of the games: minutes, hours on two CPU cores, or the paper's own.",
)
@click.option(
    "--dataset",
    type=click.Choice(["digits", "mnist", "cifar10", "cifar100", "photos"]),
    help="Data set; the first one that the paper shows by default.",
)
@click.option(
    "--cell", "chosen", multiple=True, metavar="ROW[,COLUMN]", help="Only this cell or row; may be repeated."
)
@click.option("--seeds", type=click.IntRange(1), help="Games per cell; 1, 3 and 5 by scale by default.")
@options.option(
    "--out",
    default="results",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Results folder: one run folder per game, and the plots.",
)
@click.option("--play/--no-play", default=True, help="Play what is missing, or only print what there is.")
@click.option("--fresh", is_flag=True, help="Do not use the results that ship with midstream.")
@options.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, help="Games played at once."
)
@click.option("--hours", type=POSITIVE, help="Stop after this time; the same command goes on.")
@data_options
@click.option("--photos", type=click.Path(path_type=Path), help="Folder of photos, one subfolder per class.")
@cache_option
@options.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@options.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="CPU threads of each game; another number may change the last bits.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the games to one JSON file, in the form of the results that ship with midstream.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(
    context: click.Context,
    name: str,
    scale: "Scale",
    dataset: "DataSet | None",
    chosen: tuple[str, ...],
    seeds: int | None,
    out: Path,
    play: bool,
    fresh: bool,
    workers: int,
    hours: float | None,
    data_root: Path | None,
    download: bool,
    photos: Path | None,
    cache: Path | None,
    device: str,
    threads: int,
    save: Path | None,
    as_json: bool,
) -> None:
    """Play a table or figure of the paper, and print ours beside the paper's.

    Each game is an ordinary run in the results folder. After an interruption, also by kill -9, the same
    command goes on. Figures are also plotted. Figures in per cent; "within 2 deviations" uses the paper's
    standard deviation, or ours if the paper gives none.

    \b
    Example: midstream reproduce table-2 --scale quick --dataset digits
    """
    if name in DRAWN:
        from midstream.command.reproduce.drawn import draw

        draw(
            context,
            name,
            scale,
            out=out,
            data_root=data_root,
            download=download,
            photos=photos,
            threads=threads,
        )
        return
    from midstream.command.reproduce.cells import CellError, cells_of
    from midstream.command.reproduce.comparison import compared
    from midstream.command.reproduce.document import reproduction
    from midstream.command.reproduce.markdown import page_of
    from midstream.command.reproduce.playing import games_of
    from midstream.command.reproduce.scales import seeds_of
    from midstream.command.reproduce.shipped import write_shipment
    from midstream.command.sweep.place import Place

    shown = reproduction(name)
    dataset = dataset or shown.datasets[0]
    try:
        cells = cells_of(shown, scale, dataset, seeds=seeds or seeds_of(scale), photos=photos, chosen=chosen)
    except CellError as error:
        raise click.UsageError(str(error)) from error
    place = Place(out, "local", device, threads, data_root, download, cache)
    gathered = games_of(cells, place, play=play, fresh=fresh, workers=workers, hours=hours)
    found = compared(cells, gathered.games)
    words = ["midstream", "reproduce", name, "--scale", scale, "--dataset", dataset]
    about = " ".join([*words, *(f"--cell {cell}" for cell in chosen)])
    if save is not None:
        write_shipment(save, about, found)
        click.echo(f"results: {save}", err=True)
    if as_json:
        listed = [one.document() for one in found]
        click.echo(json.dumps({"table": name, "scale": scale, "dataset": dataset, "cells": listed}))
    else:
        click.echo(page_of(shown, scale, dataset, found))
    if name.startswith("figure") and any(one.games for one in found):
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{name}-{dataset}-{scale}.png"
        from midstream.command.reproduce.plots import picture  # imports matplotlib

        picture(shown, found).savefig(path, dpi=120)
        click.echo(f"plot: {path}", err=True)
    for trial, reason in gathered.failed.items():
        click.echo(f"failed: {trial}: {reason}", err=True)
    if gathered.failed:
        raise ReproduceError(f"{len(gathered.failed)} games failed; the same command plays them again")
