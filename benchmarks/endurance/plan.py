"""The games, and the events in them, drawn by seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from benchmarks.chaos.game import Game
from benchmarks.chaos.pipeline import MOMENTS, RANDOM

_DIGITS = {"dataset": "digits", "train-size": "200", "validation-size": "50", "batch-size": "20"}
_LONG = {**_DIGITS, "epochs": "20"}

GAMES = {
    "level 1 (momentum 0.95) against level 1": Game(
        {**_LONG, "defender": "level-1"}, "level-1,beta=0.95", checkpoint_every=5
    ),
    "evoshift against a learned VAE": Game(
        {**_LONG, "defender": "vae,steps=200,batch_size=50"}, "evoshift", checkpoint_every=5, learner="server"
    ),
    "level 2 against level 2": Game({**_LONG, "defender": "level-2"}, "level-2", checkpoint_every=5),
    "black box: level 1 by a surrogate, against level 1": Game(
        {**_LONG, "defender": "level-1", "access": "black-box"},
        "level-1,beta=0.9",
        checkpoint_every=5,
        surrogate={"surrogate": "logistic", "surrogate-epochs": "3"},
        learner="proxy",
    ),
    "level 1 on half of the examples against level-1+cutmix+train-on-validation, dropout": Game(
        {
            **_LONG,
            "model": "digits-cnn,dropout=0.2",
            "defender": "level-1+cutmix,on=both+train-on-validation",
        },
        "level-1,beta=0.9,fraction=0.5",
        checkpoint_every=5,
    ),
}
"""The second game has an attacker with memory and a pretrained defender, the fourth a pretrained attacker."""

_LONGEST = 5.0  # seconds until a random moment
_NAMED_WITHIN = 8.0
_DAMAGED = 0.4  # of the events: the last ones may find no file, and a third of the restarts is meant


@dataclass(frozen=True)
class Draw:
    """Which damage it is to be, as places from 0 to below 1 in what there is to choose from, or by name."""

    file: float | str
    kind: float | str
    place: float
    value: float


@dataclass(frozen=True)
class Event:
    """One or several simultaneous deaths, and the damage to a file before the restart.

    Attributes:
        number: determines the event, together with seed and game.
        victims: services to kill.
        moment: where the first of them is, of `MOMENTS`, or `RANDOM`.
        wait: seconds until a random moment; that comes, too, where a named one does not come before.
        damage: None where there is none.
    """

    number: int
    victims: tuple[str, ...]
    moment: str
    wait: float
    damage: Draw | None


def events(seed: int, title: str, *, first: int = 0) -> Iterator[Event]:
    """Yield the events of a game, endlessly; each event depends only on its number.

    >>> from itertools import islice
    >>> drawn = list(islice(events(0, "game"), 3000))
    >>> 1100 < sum(event.damage is not None for event in drawn) < 1300
    True
    >>> drawn[7] == next(events(0, "game", first=7))
    True
    """
    for number in count(first):
        draw = random.Random(f"{seed} {title} {number}")
        damage = draw.random() < _DAMAGED
        if damage:  # of a service that has files
            victims = draw.choice([("server",), ("server",), ("proxy",), ("proxy",), ("server", "proxy")])
        else:
            services = ["server", "proxy", "provider"]
            together = draw.choice([1, 1, 1, 1, 2, 3])
            victims = tuple(draw.sample(services, together))
        named = draw.random() < 0.5
        moment = draw.choice(MOMENTS[victims[0]]) if named else RANDOM
        wait = _NAMED_WITHIN if named else draw.uniform(0, _LONGEST)
        fractions = Draw(draw.random(), draw.random(), draw.random(), draw.random())
        yield Event(number, victims, moment, wait, fractions if damage else None)
