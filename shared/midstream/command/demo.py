"""`midstream demo`: three games on embedded data, clean, attacked and defended."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from midstream.console import options
from midstream.console.process_options import checker_option
from midstream.console.specification_options import specification_of

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
@options.option(
    "--dataset",
    default="digits",
    show_default=True,
    shell_complete=options.named("datasets"),
    help="digits, diabetes, breast-cancer, california-like, digit-traits or phrases.",
)
@options.option("--epochs", type=int, help="Epochs per game; by default the data set's, 60 on digits.")
@options.option("--seed", default=0, show_default=True, help="Seed of all random draws.")
@checker_option
@click.option("--json", "as_json", is_flag=True, help="Print the three outcomes as one JSON object.")
@options.show_config
def command(
    out: Path, dataset: str, epochs: int | None, seed: int, checker: str | None, as_json: bool
) -> None:
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
        settings = {"dataset": dataset, "epochs": epochs, "seed": seed, "defender": defender, "name": name}
        specification = specification_of(settings, checker=checker)
        plan = GamePlan(specification, attacker, specification.budget, out=folder, threads=1)
        outcomes[name] = play_game(plan, label=name)
    picture = folder / "learning-curves.png"
    draw_learning_curves(picture, {name: folder / name for name in outcomes})
    if as_json:
        click.echo(json.dumps({name: outcome.as_dict() for name, outcome in outcomes.items()}))
        return
    Console(highlight=False).print(_table(dataset, outcomes))
    for name, outcome in outcomes.items():
        if outcome.checker is not None:
            click.echo(f"{name}: {checker_words(outcome.checker)}")
    click.echo(f"run folders: {', '.join(outcome.run for outcome in outcomes.values())}")
    click.echo(f"learning curves: {picture}")
    if dataset == "digits" and epochs is not None and epochs < _ENOUGH:
        click.echo(
            f"note: {epochs} epochs are too few. The harm grows over epochs, and the defender slows the "
            f"first ones. From {_ENOUGH} epochs on, the defended game is ahead."
        )


def _table(dataset: str, outcomes: "dict[str, GameResult]") -> "Table":
    from rich import box
    from rich.table import Table

    measure = outcomes["clean"].score[0].removeprefix("test ")
    table = Table(title=f"Level 1 on {dataset}: three games over HTTP", box=box.SIMPLE_HEAD)
    for heading in ("game", "attacker", "defender"):
        table.add_column(heading, no_wrap=True)
    for heading in (measure, "lost", "won back", "val. loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    clean, attacked = (outcomes[name].score[1] for name in ("clean", "attacked"))
    for name, outcome in outcomes.items():
        score = outcome.score[1]
        table.add_row(
            name,
            outcome.attacker,
            outcome.defender,
            f"{score:.3f}",
            "" if name == "clean" else f"{clean - score:.3f}",
            f"{score - attacked:.3f}" if name == "defended" else "",
            f"{outcome.validation_loss:.3f}",
        )
    return table
