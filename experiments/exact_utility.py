"""`python -m experiments.exact_utility`: what the exact utility and looking ahead gain over levels 1 and 2.

Whole games, every attacker against every defender with every seed, as `midstream play --transport local`
plays them. What has been played is kept, so that an interrupted measurement goes on where it was.
"""

import os

# As the services have it; read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click

from midstream.command.game import GamePlan
from midstream.command.local import play_local
from midstream.specification import Specification

ATTACKERS = (
    "none",
    "level-1",
    "level-2",
    "level-1,utility=exact",
    "level-2,utility=exact",
    "level-1,utility=exact,lookahead=1",
    "level-1,utility=exact,lookahead=3",
)


@click.command()
@click.option("--dataset", default="digits", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path), help="A torchvision root that holds the data.")
@click.option("--train-size", type=int)
@click.option("--validation-size", type=int)
@click.option("--batch-size", type=int)
@click.option("--epochs", type=int)
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option("--lr", "learning_rate", type=float)
@click.option("--attacker", "attackers", multiple=True, default=ATTACKERS, help="All of these by default.")
@click.option("--defender", "defenders", multiple=True, default=("none", "level-1"), show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the games are kept.")
def main(
    data_root: Path | None,
    attackers: tuple[str, ...],
    defenders: tuple[str, ...],
    seeds: int,
    out: Path,
    **settings: Any,
) -> None:
    """Play them all, and print a table of means and standard deviations over the seeds."""
    chosen = {name: value for name, value in settings.items() if value is not None}
    for defender in defenders:
        for seed in range(seeds):
            for attacker in attackers:
                fixed = {"defender": defender, "seed": seed, "name": name_of(attacker, defender, seed)}
                played(Specification.model_validate(chosen | fixed), attacker, out, data_root)
    for defender in defenders:
        click.echo(f"\ndefender {defender}:\n")
        click.echo("| attacker | test accuracy | validation loss |\n|---|---|---|")
        for attacker in attackers:
            results = [
                json.loads((out / f"{name_of(attacker, defender, seed)}.json").read_text())
                for seed in range(seeds)
            ]
            cells = [spread([r[key] for r in results]) for key in ("test_accuracy", "validation_loss")]
            click.echo(f"| `{attacker}` | {' | '.join(cells)} |")


def played(specification: Specification, attacker: str, out: Path, data_root: Path | None) -> None:
    """Play a game, unless its result is there already."""
    kept = out / f"{specification.name}.json"
    if kept.exists():
        return
    plan = GamePlan(
        specification=specification,
        attacker=attacker,
        attack_budget=specification.budget,
        out=out / "runs",
        data_root=data_root,
        device="cpu",
        threads=1,
    )
    result = play_local(plan, follow=lambda *_: None)
    kept.write_text(json.dumps(result))
    click.echo(f"{specification.name}: test accuracy {result['test_accuracy']:.3f}", err=True)


def name_of(attacker: str, defender: str, seed: int) -> str:
    """Return the name that a game is kept under."""
    words = "-".join(attacker.replace("=", "-").split(","))
    return f"{words}-vs-{defender}-seed{seed}".replace("_", "-")


def spread(values: list[float]) -> str:
    """Return mean and standard deviation."""
    return f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}"


if __name__ == "__main__":
    main()
