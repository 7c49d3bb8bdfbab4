"""`python -m experiments.baselines`: all attacks and defences, over seeds (Tables 2, 3, A.6).

Each game is played as by `midstream play --transport local`, on one thread. Finished games are stored, so an
interrupted measurement can continue.
"""

import os

# The same setting as in the services; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import click

from experiments.games import name_of, played, spread
from midstream.console.progress import Progress
from midstream.protocol.specification import Specification
from midstream_proxy.surrogates.surrogate import SurrogateSettings

Side = Literal["attacks", "defences"]

# Sized for a CPU: about 1.5 hours and half an hour on one core.
GAMES: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 30},
    "mnist": {"train_size": 1000, "validation_size": 500, "batch_size": 100, "epochs": 40},
}
BLACK_BOX = "black-box"
"""Black-box level 1. Black-box access is a setting of the run, not part of the attacker's name."""

# The original constants take up to 90,000 gradients a batch.
_CW = "cw,iterations=50,searches=4"
_REFERENCES = ["none", "noise", "label-flip"]
_PAPERS = ["fgsm", "pgd", _CW, "yopo", "deep-confuse", "evoshift", "atn", "vat", "second-order", "curvature"]
_LATER = ["gradient-matching", "accumulative"]
_OURS = ["level-1", "level-1,beta=0", "level-2", "level-2-closed-form", "optimal-contraction", "influence"]
_TABLE_2 = [
    "none",
    "noise",
    "pgd",
    _CW,
    "yopo",
    "deep-confuse",
    "evoshift",
    "level-1",
    "level-1,beta=0",
    BLACK_BOX,
]
_TABLE_3 = [
    "none",
    "level-1",
    "level-1+cutmix",
    "level-1+cutmix,on=both+train-on-validation",
    "ddpm",
    "ddpm+cutmix",
    "ddpm+cutmix,on=both+train-on-validation",
]
_PURIFIERS = ["vae", "cvae", "gan"]
_NOISE = "midstream.attacks.noise:Noise"
"""A baseline for defences: a random direction at the full budget already weakens an attack."""

_OTHERS = [_NOISE, "level-2", "cutmix", "train-on-validation", "crop-ensemble", "clip", "median", "jpeg"]

ROWS: dict[str, dict[Side, list[str]]] = {
    "digits": {
        "attacks": [*_REFERENCES, *_PAPERS, *_LATER, *_OURS, BLACK_BOX],
        "defences": [*_TABLE_3, *_PURIFIERS, *_OTHERS],
    },
    "mnist": {"attacks": _TABLE_2, "defences": [*_TABLE_3, *_PURIFIERS, _NOISE, "crop-ensemble"]},
}
AGAINST: dict[Side, list[str]] = {"attacks": ["none", "level-1"], "defences": ["level-1"]}


@click.command()
@click.argument("side", type=click.Choice(["attacks", "defences"]))
@click.option("--dataset", type=click.Choice(list(GAMES)), default="digits", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path), help="Torchvision's data root.")
@click.option("--row", "rows", multiple=True, help="A player's name and options; all rows by default.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Number of parallel games, one thread each.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the games.")
def main(
    side: Side,
    dataset: str,
    data_root: Path | None,
    rows: tuple[str, ...],
    seeds: int,
    workers: int,
    out: Path,
) -> None:
    """Play all games, and print a table of test accuracies, mean and standard deviation over the seeds.

    SIDE: attacks against no defence and level 1, or defences against the attack of level 1.
    """
    names = rows or ROWS[dataset][side]
    against = AGAINST[side]
    games = [(seed, name, other) for seed in range(seeds) for name in names for other in against]
    out.mkdir(parents=True, exist_ok=True)
    accuracy: dict[tuple[int, str, str], float] = {}
    with (
        Progress(len(games), label=f"{dataset}, {side}") as progress,
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
    ):
        pending = {pool.submit(_play, dataset, side, *game, out, data_root): game for game in games}
        for done in as_completed(pending):
            game = pending[done]
            accuracy[game] = done.result()
            progress.update(len(accuracy), f"{game[1]} against {game[2]} {accuracy[game]:.3f}")
    click.echo(f"| {side[:-1]} | {' | '.join(f'against {other}' for other in against)} |")
    click.echo("|---" * (len(against) + 1) + "|")
    for name in names:
        cells = [spread([accuracy[seed, name, other] for seed in range(seeds)]) for other in against]
        click.echo(f"| `{name}` | {' | '.join(cells)} |")


def _play(
    dataset: str, side: Side, seed: int, name: str, other: str, out: Path, data_root: Path | None
) -> float:
    attacker, defender = (name, other) if side == "attacks" else (other, name)
    hidden = attacker == BLACK_BOX
    settings: dict[str, Any] = {"dataset": dataset, "defender": defender, "seed": seed, **GAMES[dataset]}
    settings |= {
        "name": name_of(attacker, defender, seed),
        "access": "black-box" if hidden else "white-box",
    }
    surrogate = SurrogateSettings(cache=out / "learned")
    run = Specification.model_validate(settings)
    result = played(run, "level-1" if hidden else attacker, out, data_root, surrogate)
    found: float = result["test_accuracy"]
    return found


if __name__ == "__main__":
    main()
