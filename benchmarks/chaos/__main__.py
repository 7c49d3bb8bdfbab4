"""`python -m benchmarks.chaos`: games under at least 200 faults, compared with undisturbed games."""

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click

from benchmarks.chaos.damage import DAMAGES
from benchmarks.chaos.game import Game, compare, undisturbed
from benchmarks.chaos.pipeline import MOMENTS, RANDOM, TERMINATED, Death, Pipeline

_DIGITS = {"dataset": "digits", "train-size": "200", "validation-size": "50", "batch-size": "20"}
GAMES = {
    "level 1 against level 1": Game({**_DIGITS, "defender": "level-1", "epochs": "8"}),
    "level 2 against level 2": Game({**_DIGITS, "defender": "level-2", "epochs": "8"}, "level-2"),
    "level 1 in part against a checker that drops": Game(
        {**_DIGITS, "defender": "none", "checker": "drift,action=drop,threshold=0.7", "epochs": "8"},
        "level-1,fraction=0.4",
    ),
    "nobody against nobody": Game({**_DIGITS, "defender": "none", "epochs": "30"}, "none"),
}
_WITHIN = 900.0


@click.command()
@click.option("--deaths", default=50, show_default=True, help="Number of kills per game.")
@click.option("--seed", default=0, show_default=True)
def main(deaths: int, seed: int) -> None:
    """Play each game undisturbed, then again with killed processes, damaged files and broken connections."""
    tally: Counter[str] = Counter()
    for number, (title, game) in enumerate(GAMES.items()):
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            reference = undisturbed(game, Path(folder))
            pipeline = Pipeline(
                game,
                Path(folder) / "disturbed",
                drawn(deaths, attacked=game.attacker != "none", seed=seed + number),
                faulty=0.3,
                seed=seed + number,
            )
            pipeline.play(_WITHIN)
            compare(pipeline.run, reference)
        click.echo(
            f"{title}: {pipeline.tally.total()} faults in {time.monotonic() - started:.0f} s, parameters and "
            f"metrics as undisturbed; {pipeline.left()} deaths were left when the game was over"
        )
        tally += pipeline.tally
    click.echo(f"\n| fault | {tally.total()} |\n|---|---|")
    for name, count in sorted(tally.items()):
        click.echo(f"| {name} | {count} |")
    sys.exit(tally.total() < 200)


def drawn(count: int, *, attacked: bool, seed: int) -> list[Death]:
    """Return deaths in random order, at least one of each kind if `count` allows.

    Args:
        count: number of deaths.
        attacked: whether the proxy attacks; without an attack it does not reach its moments.
        seed: seed of the draws.
    """
    draw = random.Random(seed)
    kinds = [(service, moment) for service, of in MOMENTS.items() for moment in (*of, RANDOM, TERMINATED)]
    if not attacked:
        kinds = [kind for kind in kinds if kind[0] != "proxy" or kind[1] not in MOMENTS["proxy"]]
    damages = [Death("server", RANDOM, damage=damage) for damage in DAMAGES]
    deaths = [Death(service, moment, draw.randint(1, 3)) for service, moment in kinds] + damages
    while len(deaths) < count:
        deaths.append(draw.choice(deaths))
    draw.shuffle(deaths)
    return deaths[:count]


if __name__ == "__main__":
    main()
