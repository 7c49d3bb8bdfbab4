"""Every installed player, with the options that it needs, and what it sees."""

import inspect
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cases import CLASSES, Problem

from midstream import Batch, Budget, Sgd, View, cross_entropy, plugins, validation_gradient
from midstream.players.course import Ground, learn
from midstream.players.interface import Player

Side = Literal["attackers", "defenders"]

GIVEN = {
    "k": "3",
    "target": "1",
    "steps": "3",
    "iterations": "10",
    "searches": "2",
    "trials": "1",
    "epochs": "1",
    "surrogate_epochs": "1",
    "width": "4",
    "rounds": "1",
    "train_steps": "1",
    "path": str(Path(__file__).with_name("poison.npy")),  # a perturbation for each class of digits
    "by": "class",
}
"""Options that a player needs, or that keep it quick."""

OF_A_FILE = {"replay"}
"""Players whose perturbations have the shape of a file; tests/test_poisons.py plays them."""

OF_TEXT = {"nearest-token"}
"""Players of embedded sentences, which refuse images; tests/test_embedded_text.py plays them."""

VARIANTS: dict[Side, list[str]] = {
    "attackers": [
        "level-1,validation=minibatch",
        "level-1,utility=exact,lookahead=2",
        "level-2,steps=3,step_size=0.5,opponent_step_size=0.2",
        "level-2,steps=2,goal=conversion,target=2",
        "level-2,steps=2,utility=exact",
        "influence,goal=evasion,target=0,validation=minibatch",
        "optimal-contraction,damping=0",
        "level-1,at=memory,blend=whole",
        "level-2,steps=2,at=memory",
        "level-1,fraction=0.5",
        "label-flip,fraction=0.5,fraction_of=batches",
    ],
    "defenders": [
        "level-2,steps=3,step_size=0.5",
        "level-2,steps=2,utility=exact",
        "influence,damping=0",
        "level-1+cutmix",
        "crop-ensemble,side=0.6,crops=2+level-2,steps=2",
        "cutmix,on=both+train-on-validation",
        "ddpm,steps=3,width=4+cutmix,on=both+train-on-validation",
    ],
}


@dataclass(frozen=True)
class Chosen:
    """A player by side and text."""

    side: Side
    text: str

    def make(self, *, beta: float | None = None) -> Player:
        """Return a new one, an attacker's memory as long as it is by default, or as told."""
        keeps = "beta" in inspect.signature(plugins.find(self.side, kind(self.text))).parameters
        text = f"{self.text},beta={beta}" if keeps and beta is not None else self.text
        player: Player = plugins.make(self.side, text)
        return player


def ready(chosen: Chosen, p: Problem, budget: Budget, *, beta: float | None = None) -> Player:
    """Return a new player that has learned what it must."""
    player = chosen.make(beta=beta)
    known = p.validation_inputs, p.validation_labels
    learn(
        player,
        Ground(
            *known,
            classes=CLASSES,
            budget=budget,
            learning_rate=0.1,
            batch_size=5,
            seed=0,
            role=chosen.side.removesuffix("s"),
            model_source=lambda: deepcopy(p.model),
            train_source=lambda: known,
        ),
    )
    return player


def kinds(text: str) -> list[str]:
    names = [plugins.parse(member)[0] for member in plugins.members(text)]
    known = {*plugins.names("attackers"), *plugins.names("defenders")}
    return [name if name in known else "level-k" for name in names]


def kind(text: str) -> str:
    return kinds(text)[0]


def installed(side: Side) -> list[Chosen]:
    """Return every installed player of a side by name, with the options that it needs, and the variants."""
    texts = []
    for name in sorted({*plugins.names(side)} - OF_TEXT):
        options = [
            option for option in inspect.signature(plugins.find(side, name)).parameters if option in GIVEN
        ]
        needed = [option for option in options if option != "target" or name in ("conversion", "evasion")]
        texts.append(",".join([name, *(f"{option}={GIVEN[option]}" for option in needed)]))
    return [Chosen(side, text) for text in texts + VARIANTS[side]]


def view(chosen: Chosen, p: Problem, budget: Budget) -> View:
    z, t = p.validation_inputs, p.validation_labels
    return View(
        model=p.model,
        parameters_version=0,
        loss=cross_entropy,
        learning_rate=0.1,
        validation_inputs=z,
        validation_labels=t,
        budget=budget,
        seed=0,
        role=chosen.side.removesuffix("s"),
        gradient_source=lambda: validation_gradient(p.model, z, t),
        step_source=lambda: Sgd(0.1),
        batch_source=lambda count: [Batch(1 + i, z[: 2 + i], t[: 2 + i]) for i in range(count)],
    )
