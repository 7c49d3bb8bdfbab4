"""`python -m experiments.accumulative`: the published loop of the accumulative attack against this project's.

A network learns clean digits for 250 batches. The attacker then prepares for 49 batches and strikes with the
last one. The test accuracy is taken before and after the strike.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

import midstream
from experiments.detection.tables import spread
from experiments.versions import versions
from midstream.storage.lines import append_line, lines

PLUGIN = Path(__file__).parent / "plugins/published_accumulative.py"
STRIKE = 299
ATTACKERS = {
    "nobody": "none",
    "the strike alone": f"{PLUGIN}:Published,prepare=false",
    "the published loop": f"{PLUGIN}:Published",
    "the published loop, trigger struck again": f"{PLUGIN}:Published,online=true",
    "`accumulative`": f"{PLUGIN}:Ours",
}
GAMES: dict[str, dict[str, Any]] = {
    "L∞, ε 0.1, SGD": {"norm": "linf", "epsilon": 0.1, "optimizer": "sgd", "lr": 0.002},
    "L2, ε 2, SGD": {"epsilon": 2.0, "optimizer": "sgd", "lr": 0.002},
    "L2, ε 2, Adam": {"epsilon": 2.0},
}
RESULTS = Path(__file__).parent / "results/accumulative-digits.jsonl"


def play(game: str, attacker: str, seed: int) -> dict[str, Any]:
    """Play one game; return its accuracy before the strike and after it."""
    with TemporaryDirectory() as out:
        result = midstream.play(
            dataset="digits",
            attacker=ATTACKERS[attacker],
            seed=seed,
            epochs=30,
            max_steps=STRIKE + 1,
            evaluate_every=STRIKE,
            out=out,
            run="game",
            threads=1,
            device="cpu",
            follow=lambda *_: None,
            **GAMES[game],
        )
        curve = result.metrics["test_accuracy"]
    return {"before": float(curve[STRIKE - 1]), "after": float(curve[STRIKE])}


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), default=RESULTS, help="Where the figures are kept."
)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), show_default=True)
def main(results: Path, seeds: tuple[int, ...]) -> None:
    """Play the games that the results file lacks, and print a table for each game."""
    found = {(one["game"], one["attacker"], one["seed"]): one for one in lines(results)}
    for seed in seeds:
        for game in GAMES:
            for attacker in ATTACKERS:
                if (game, attacker, seed) in found:
                    continue
                named = {"game": game, "attacker": attacker, "seed": seed}
                one = {**named, **play(game, attacker, seed), "versions": versions()}
                results.parent.mkdir(parents=True, exist_ok=True)
                append_line(results, one)
                found[game, attacker, seed] = one
                click.echo(json.dumps(one, ensure_ascii=False), err=True)
    for game in GAMES:
        click.echo(f"\n{game}:\n\n| attacker | before the strike | after it |\n|---|---|---|")
        for attacker in ATTACKERS:
            rows = [one for (its, by, _), one in found.items() if (its, by) == (game, attacker)]
            cells = (spread([row[name] for row in rows], "{:.3f}") for name in ("before", "after"))
            click.echo(f"| {attacker} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
