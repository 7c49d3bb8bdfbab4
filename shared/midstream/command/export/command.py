"""`midstream export`: write what a finished run's attacker sent to one file."""

import json
from pathlib import Path

import click

from midstream.console.process_options import cache_option, data_options, device_options


@click.command("export")
@click.argument("run")
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; poison.safetensors in the run folder by default.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Write every perturbation that was sent; by default, only the last one of each example.",
)
@data_options
@cache_option
@device_options
@click.option("--json", "as_json", is_flag=True, help="Print the card as one JSON object.")
def command(
    run: str,
    to: Path | None,
    everything: bool,
    data_root: Path | None,
    download: bool,
    cache: Path | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Write what a run's attacker sent: index, hash, perturbation and label, as one file with a card.

    RUN is the folder of a finished game. A run does not record its perturbations; the game is played again
    in this process, and nothing is written unless it ends in the same parameters. The attacker
    replay,path=FILE plays the file.

    \b
    Example: midstream export runs/digits-level-1-vs-none-seed0
    """
    from midstream.command.export.exporting import export
    from midstream.console.progress import Progress

    with Progress(0, label="export") as progress:
        card, path = export(
            run,
            to=to,
            everything=everything,
            settings={
                "data_root": data_root,
                "download": download or None,
                "cache": cache,
                "device": None if device == "auto" else device,
                "threads": threads,
            },
            follow=lambda step, total, text: progress.update(step, text, total=total),
        )
    if as_json:
        click.echo(json.dumps({**card, "path": str(path)}))
        return
    click.echo(
        f"{card['rows']} perturbations of {card['examples']} examples of {card['dataset']}, sent by "
        f"{card['attacker']} within ε = {card['epsilon']:g} ({card['norm']}), are in {path}"
    )
    click.echo(f"SHA-256 {card['sha256']}")
