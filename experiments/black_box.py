"""What an attacker loses that cannot see the model: the tables of docs/black-box.md.

python -m experiments.black_box --out runs/black-box
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

import click

from midstream import options
from midstream.command.game import GamePlan
from midstream.command.play import play_game
from midstream_proxy.surrogate import SurrogateSettings

MLP = f"{Path(__file__).with_name('mlp.py')}:mlp"


@dataclass(frozen=True)
class Row:
    """One attacker of the tables, against each defender."""

    title: str
    attacker: str = "level-1"
    access: str = "black-box"
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)


ROWS = {
    "clean": Row("nobody", attacker="none", access="white-box"),
    "white": Row("level 1, white-box", access="white-box"),
    "same": Row("level 1, black-box, the server's architecture"),
    "mlp": Row("level 1, black-box, a perceptron", surrogate=SurrogateSettings(MLP)),
    "logistic": Row("level 1, black-box, logistic regression", surrogate=SurrogateSettings("logistic")),
    "half": Row("level 1, black-box, half of the training data", surrogate=SurrogateSettings(train_size=500)),
}
DEFENDERS = ("none", "level-1")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/black-box"))
@click.option("--seeds", type=int, default=3)
@click.option("--row", "rows", type=click.Choice(list(ROWS)), multiple=True, default=list(ROWS))
def main(out: Path, seeds: int, rows: tuple[str, ...]) -> None:
    """Play the games and print the table: test accuracy, mean and standard deviation over the seeds."""
    click.echo("| attacker | " + " | ".join(f"against {name}" for name in DEFENDERS) + " |")
    click.echo("|---|" + "---|" * len(DEFENDERS))
    for row in rows:
        cells = [" ".join(_cell(list(_accuracies(row, defender, out, seeds)))) for defender in DEFENDERS]
        click.echo(f"| {ROWS[row].title} | " + " | ".join(cells) + " |")


def _accuracies(name: str, defender: str, out: Path, seeds: int) -> Iterator[float]:
    row = ROWS[name]
    for seed in range(seeds):
        settings = {"dataset": "digits", "seed": seed, "defender": defender, "access": row.access}
        specification = options.specification(settings, name=f"{name}-vs-{defender}-seed{seed}")
        plan = GamePlan(
            specification,
            row.attacker,
            specification.budget,
            surrogate=row.surrogate,
            transport="local",
            out=out,
            device="cpu",
            threads=1,
        )
        accuracy: float = play_game(plan)["test_accuracy"]
        yield accuracy


def _cell(accuracies: list[float]) -> Iterator[str]:
    yield f"{mean(accuracies):.3f}"
    if len(accuracies) > 1:
        yield f"± {stdev(accuracies):.3f}"


if __name__ == "__main__":
    main()
