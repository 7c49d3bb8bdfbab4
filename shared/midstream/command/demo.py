"""`midstream demo`: three games on the embedded digits, clean, attacked and defended."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from midstream.console import options
from midstream.console.process_options import checker_option
from midstream.console.specification_options import specification_of
from midstream.protocol.dataset_defaults import defaults

if TYPE_CHECKING:
    from rich.table import Table

    from midstream.command.api.result import GameResult

_ENOUGH = 20
"""Epochs from which the defended game is ahead of the attacked one by more than seeds differ."""

_GAMES = {"clean": ("none", "none"), "attacked": ("level-1", "none"), "defended": ("level-1", "level-1")}


@click.command("demo")
@options.option(
    "--out",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Parent of the run folders.",
)
@options.option("--epochs", default=defaults("digits")["epochs"], show_default=True, help="Epochs per game.")
@options.option("--seed", default=0, show_default=True, help="Seed of all random draws.")
@checker_option
@click.option("--json", "as_json", is_flag=True, help="Print the three outcomes as one JSON object.")
@options.show_config
def command(out: Path, epochs: int, seed: int, checker: str | None, as_json: bool) -> None:
    """Play three games on embedded data. Each game runs in three processes that communicate over HTTP.

    \b
    Example: midstream demo
    """
    from rich.console import Console

    from midstream.command.games.game import GamePlan
    from midstream.command.games.playing import play_game
    from midstream.command.games.run_names import free_name
    from midstream.command.runs.curves import draw_learning_curves
    from midstream.command.runs.summary import checker_words

    folder = out / free_name(out, "demo")
    outcomes: dict[str, GameResult] = {}
    for name, (attacker, defender) in _GAMES.items():
        settings = {"dataset": "digits", "epochs": epochs, "seed": seed, "defender": defender, "name": name}
        specification = specification_of(settings, checker=checker)
        plan = GamePlan(specification, attacker, specification.budget, out=folder, threads=1)
        outcomes[name] = play_game(plan, label=name)
    picture = folder / "learning-curves.png"
    draw_learning_curves(picture, {name: folder / name for name in outcomes})
    if as_json:
        click.echo(json.dumps({name: outcome.as_dict() for name, outcome in outcomes.items()}))
        return
    Console(highlight=False).print(_table(outcomes))
    for name, outcome in outcomes.items():
        if outcome.checker is not None:
            click.echo(f"{name}: {checker_words(outcome.checker)}")
    click.echo(f"run folders: {', '.join(outcome.run for outcome in outcomes.values())}")
    click.echo(f"learning curves: {picture}")
    if epochs < _ENOUGH:
        click.echo(
            f"note: {epochs} epochs are too few. The harm grows over epochs, and the defender slows the "
            f"first ones. From {_ENOUGH} epochs on, the defended game is ahead."
        )


def _table(outcomes: "dict[str, GameResult]") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title="Level 1 on digits: three games over HTTP", box=box.SIMPLE_HEAD)
    for heading in ("game", "attacker", "defender"):
        table.add_column(heading, no_wrap=True)
    for heading in ("accuracy", "lost", "won back", "val. loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    clean, attacked = (outcomes[name].score[1] for name in ("clean", "attacked"))
    for name, outcome in outcomes.items():
        _, accuracy = outcome.score
        table.add_row(
            name,
            outcome.attacker,
            outcome.defender,
            f"{accuracy:.3f}",
            "" if name == "clean" else f"{clean - accuracy:.3f}",
            f"{accuracy - attacked:.3f}" if name == "defended" else "",
            f"{outcome.validation_loss:.3f}",
        )
    return table
