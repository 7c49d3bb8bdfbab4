"""`python -m experiments.exact_utility`: gain of exact utility and lookahead over levels 1 and 2.

Whole games, every attacker against every defender with every seed, as `midstream play --transport local`
plays them. Finished games are stored, so an interrupted measurement can continue.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path
from typing import Any

import click

from experiments.games import name_of, played, spread
from midstream.protocol.specification import Specification

ATTACKERS = (
    "none",
    "level-1",
    "level-2,share=inf",
    "level-1,utility=exact",
    "level-2,share=inf,utility=exact",
    "level-1,utility=exact,lookahead=1",
    "level-1,utility=exact,lookahead=3",
)


@click.command()
@click.option("--dataset", default="digits", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path), help="Torchvision's data root.")
@click.option("--train-size", type=int)
@click.option("--validation-size", type=int)
@click.option("--batch-size", type=int)
@click.option("--epochs", type=int)
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option("--lr", "learning_rate", type=float)
@click.option("--attacker", "attackers", multiple=True, default=ATTACKERS, help="All of these by default.")
@click.option("--defender", "defenders", multiple=True, default=("none", "level-1"), show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the games.")
def main(
    data_root: Path | None,
    attackers: tuple[str, ...],
    defenders: tuple[str, ...],
    seeds: int,
    out: Path,
    **settings: Any,
) -> None:
    """Play all games, and print a table of means and standard deviations over the seeds."""
    chosen = {name: value for name, value in settings.items() if value is not None}
    out.mkdir(parents=True, exist_ok=True)
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for defender in defenders:
        for seed in range(seeds):
            for attacker in attackers:
                fixed = {"defender": defender, "seed": seed, "name": name_of(attacker, defender, seed)}
                result = played(Specification.model_validate(chosen | fixed), attacker, out, data_root)
                click.echo(f"{fixed['name']}: test accuracy {result['test_accuracy']:.3f}", err=True)
                results.setdefault((defender, attacker), []).append(result)
    for defender in defenders:
        click.echo(f"\ndefender {defender}:\n")
        click.echo("| attacker | test accuracy | validation loss |\n|---|---|---|")
        for attacker in attackers:
            of = results[defender, attacker]
            cells = [spread([result[key] for result in of]) for key in ("test_accuracy", "validation_loss")]
            click.echo(f"| `{attacker}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
