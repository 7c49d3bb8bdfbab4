"""`python -m experiments.levels`: attackers of level 0 to 4 against defenders of level 0 to 4, over seeds.

Each game is played as by `midstream play --transport local`, on one thread. Finished games are stored, so an
interrupted measurement can continue.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click

from experiments.games import name_of, played, spread
from midstream.console.progress import Progress
from midstream.protocol.specification import Specification

# Sized for a CPU: about half an hour each on one core.
GAMES: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 30},
    "mnist": {
        "train_size": 300,
        "validation_size": 200,
        "batch_size": 50,
        "epochs": 25,
        "evaluate_every": 75,
    },
}
# With the paper's M, the rule gives 2, 3 and 7 steps on MNIST; with the estimated M on digits, it gives k.
OPTIONS = {"digits": "", "mnist": ",smoothness=0.203"}


@click.command()
@click.option("--dataset", type=click.Choice(list(GAMES)), default="digits", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path), help="Torchvision's data root.")
@click.option("--share", type=float, help="Share of each step after the first; inf is the paper's practice.")
@click.option("--attacker-level", "attacker_levels", multiple=True, type=int, default=range(5))
@click.option("--defender-level", "defender_levels", multiple=True, type=int, default=range(5))
@click.option("--seeds", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Number of parallel games, one thread each.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the games.")
def main(
    dataset: str,
    data_root: Path | None,
    share: float | None,
    attacker_levels: tuple[int, ...],
    defender_levels: tuple[int, ...],
    seeds: int,
    workers: int,
    out: Path,
) -> None:
    """Play all games, and print a table of test accuracies, mean and standard deviation over the seeds."""
    options = OPTIONS[dataset] + ("" if share is None else f",share={share:g}")
    attackers = [_player(level, options) for level in attacker_levels]
    defenders = [_player(level, options) for level in defender_levels]
    games = [(seed, a, d) for seed in range(seeds) for d in defenders for a in attackers]
    out.mkdir(parents=True, exist_ok=True)
    accuracy: dict[tuple[int, str, str], float] = {}
    with (
        Progress(len(games), label=dataset) as progress,
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
    ):
        pending = {pool.submit(_play, dataset, *game, out, data_root): game for game in games}
        for done in as_completed(pending):
            game = pending[done]
            accuracy[game] = done.result()
            progress.update(len(accuracy), f"{name_of(game[1], game[2], game[0])} {accuracy[game]:.3f}")
    click.echo(f"| attacker \\ defender | {' | '.join(map(str, defender_levels))} |")
    click.echo("|---" * (len(defenders) + 1) + "|")
    for level, attacker in zip(attacker_levels, attackers, strict=True):
        cells = [spread([accuracy[seed, attacker, d] for seed in range(seeds)]) for d in defenders]
        click.echo(f"| {level} | {' | '.join(cells)} |")


def _player(level: int, options: str) -> str:
    return ["none", "level-1"][level] if level < 2 else f"level-{level}{options}"


def _play(dataset: str, seed: int, attacker: str, defender: str, out: Path, data_root: Path | None) -> float:
    settings = {"dataset": dataset, "defender": defender, "seed": seed}
    settings |= {"name": name_of(attacker, defender, seed), **GAMES[dataset]}
    result = played(Specification.model_validate(settings), attacker, out, data_root)
    found: float = result["test_accuracy"]
    return found


if __name__ == "__main__":
    main()
