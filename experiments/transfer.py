"""`python -m experiments.transfer`: what a poison against one network does to another, on digits.

Level 1 plays against each network. What it sent last of each example is exported and replayed against each
network. The table of docs/poisons.md is of this command.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

import midstream
from experiments.detection.tables import spread
from experiments.versions import versions
from midstream.command.export.exporting import export
from midstream.storage.lines import append_line, lines

NETWORKS = ("digits-cnn", "logistic")
ATTACKER = "level-1,beta=0"
RESULTS = Path(__file__).parent / "results/transfer-digits.jsonl"


def games(seed: int, epochs: int) -> Iterator[dict[str, Any]]:
    """Play all games of one seed; yield what was sent, the network, and its test accuracy."""
    with TemporaryDirectory() as out:

        def played(network: str, attacker: str, run: str) -> midstream.GameResult:
            return midstream.play(
                dataset="digits",
                model=network,
                attacker=attacker,
                seed=seed,
                epochs=epochs,
                out=out,
                run=run,
                threads=1,
                device="cpu",
                follow=lambda *_: None,
            )

        poisons = {}
        for network in NETWORKS:
            for sent, attacker in (("nothing", "none"), ("in flight, against this network", ATTACKER)):
                game = played(network, attacker, f"{network}-{attacker}".replace(",", "-").replace("=", "-"))
                yield {"sent": sent, "network": network, "accuracy": game.test_accuracy}
            _, poisons[network] = export(str(game.folder))
        for source, path in poisons.items():
            for network in NETWORKS:
                game = played(network, f"replay,path={path}", f"{source}-to-{network}")
                sent = f"last perturbations against `{source}`, replayed"
                yield {"sent": sent, "network": network, "accuracy": game.test_accuracy}


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures are kept."
)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), show_default=True)
@click.option("--epochs", default=10, show_default=True)
def main(results: Path, seeds: tuple[int, ...], epochs: int) -> None:
    """Play the seeds that the results file lacks, and print the table."""
    found = list(lines(results))
    for seed in seeds:
        if seed in {one["seed"] for one in found}:
            continue
        for one in list(games(seed, epochs)):  # a seed is kept whole
            one |= {"seed": seed, "versions": versions()}
            results.parent.mkdir(parents=True, exist_ok=True)
            append_line(results, one)
            found.append(one)
    click.echo("| sent | " + " | ".join(f"`{network}`" for network in NETWORKS) + " |\n|---|---|---|")
    for sent in dict.fromkeys(one["sent"] for one in found):
        cells = (
            spread(
                [one["accuracy"] for one in found if (one["sent"], one["network"]) == (sent, network)],
                "{:.3f}",
            )
            for network in NETWORKS
        )
        click.echo(f"| {sent} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
