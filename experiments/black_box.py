"""`python -m experiments.black_box`: what an attacker loses without access to the model.

Level 1 on digits, white-box, and black-box with several surrogates. Finished games are stored, so an
interrupted measurement can continue.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from experiments.games import played, spread
from midstream.protocol.specification import Specification
from midstream_proxy.surrogates.surrogate import SurrogateSettings

MLP = f"{Path(__file__).with_name('mlp.py')}:mlp"


@dataclass(frozen=True)
class Row:
    """One attacker; black-box if it has a surrogate."""

    title: str
    attacker: str = "level-1"
    surrogate: SurrogateSettings | None = None


ROWS = {
    "clean": Row("nobody", attacker="none"),
    "white": Row("white-box"),
    "same": Row("black-box, the server's architecture", surrogate=SurrogateSettings()),
    "mlp": Row("black-box, a perceptron", surrogate=SurrogateSettings(MLP)),
    "logistic": Row("black-box, logistic regression", surrogate=SurrogateSettings("logistic")),
    "half": Row("black-box, half of the training data", surrogate=SurrogateSettings(train_size=500)),
}


@click.command()
@click.option("--row", "rows", type=click.Choice(list(ROWS)), multiple=True, default=list(ROWS))
@click.option("--defender", "defenders", multiple=True, default=("none", "level-1"), show_default=True)
@click.option("--epochs", type=int, help="Epochs of each game; the data set's default if not given.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the games.")
def main(
    rows: tuple[str, ...], defenders: tuple[str, ...], epochs: int | None, seeds: int, out: Path
) -> None:
    """Play all games, and print a table of means and standard deviations over the seeds."""
    out.mkdir(parents=True, exist_ok=True)
    click.echo("| attacker | " + " | ".join(f"against {name}" for name in defenders) + " |")
    click.echo("|---|" + "---|" * len(defenders))
    for row in rows:
        games = [[_play(row, defender, seed, epochs, out) for seed in range(seeds)] for defender in defenders]
        cells = [spread([game["test_accuracy"] for game in of]) for of in games]
        click.echo(f"| {ROWS[row].title} | " + " | ".join(cells) + " |")


def _play(row: str, defender: str, seed: int, epochs: int | None, out: Path) -> dict[str, Any]:
    attacker, surrogate = ROWS[row].attacker, ROWS[row].surrogate
    settings: dict[str, Any] = {"defender": defender, "seed": seed, "epochs": epochs}
    settings |= {"name": f"{row}-vs-{defender}-seed{seed}"}
    if surrogate is None:
        return played(Specification.model_validate(settings), attacker, out, None)
    settings |= {"access": "black-box"}
    surrogate = replace(surrogate, cache=out / "surrogates")
    return played(Specification.model_validate(settings), attacker, out, None, surrogate)


if __name__ == "__main__":
    main()
