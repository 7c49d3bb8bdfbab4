"""Whole games of `play --transport local`, short enough for a test, on any device."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from midstream.command.games.game import GamePlan
from midstream.command.games.local import local_turns, play_local
from midstream.command.games.local_pipeline import LocalPipeline
from midstream.command.games.side_by_side import SideBySide
from midstream.mathematics.graphs.capturing import switch
from midstream.players.referee import state_of
from midstream.protocol.specification import Specification
from midstream.protocol.wire import tensors_sha256
from midstream.run.process.precisions import Precision

CPU = torch.device("cpu")
FITTING = [
    ("level-1", "level-1"),
    ("none", "none"),
    ("none", "level-1"),
    ("level-1,at=memory,blend=whole", "none"),
    ("level-2", "level-2"),
    ("level-2-closed-form", "level-2-closed-form"),
    ("pgd", "none"),
]
"""Attackers and defenders whose steps are taken whole."""


def plan(
    out: Path,
    attacker: str = "level-1",
    defender: str = "level-1",
    *,
    device: torch.device = CPU,
    precision: Precision = "float32",
    **settings: Any,
) -> GamePlan:
    """Return a game on 60 digits: three epochs of 25, 25 and 10 examples."""
    sizes = {"train_size": 60, "validation_size": 40, "batch_size": 25, "epochs": 3}
    named = {"dataset": "digits", "name": out.name, "defender": defender}
    specification = Specification.model_validate(named | sizes | settings)
    return GamePlan(
        specification,
        attacker,
        specification.budget,
        transport="local",
        out=out.parent,
        device=str(device),
        threads=1,
        precision=precision,
    )


def state(pipeline: LocalPipeline) -> str:
    """Return the fingerprint of a game's parameters, optimizer and attacker's memory."""
    attacked = pipeline._attacked
    memory = {} if attacked is None else state_of(attacked.player)
    tensors = pipeline.run.state_dict() | {f"attacker.{name}": value for name, value in memory.items()}
    return tensors_sha256({name: value.float() for name, value in tensors.items()})


def ends(game: GamePlan, *, capture: bool = True) -> tuple[str, int, bool]:
    """Play a game; return its last `state`, how many steps were taken whole, and whether by a graph."""
    switch(capture)
    try:
        with LocalPipeline(game, lambda *_: None) as pipeline:
            whole = sum(step is None for step in pipeline.turns())
            graph = pipeline._whole.graph
            return state(pipeline), whole, graph is not None and graph.captured
    finally:
        switch(True)


def alone(game: GamePlan) -> str:
    """Play a game by itself, and return the fingerprint of its parameters."""
    return str(play_local(game, lambda *_: None)["parameters_sha256"])


def together(games: Mapping[str, GamePlan], device: torch.device) -> tuple[dict[str, str], list[str]]:
    """Play games side by side; return their fingerprints, and whose steps were taken one after the other."""
    told: list[str] = []

    def following(name: str) -> Callable[..., None]:
        return lambda *_: told.append(name)

    side, found = SideBySide[str, dict[str, Any]](), dict[str, str]()
    for name, game in games.items():
        side.add(name, local_turns(game, following(name)), device)
    while side:
        found |= {name: result["parameters_sha256"] for name, result in side.turn()}
    return found, told
