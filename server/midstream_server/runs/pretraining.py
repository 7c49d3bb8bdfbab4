"""Pretraining of a run's defender and checker, before its first step."""

from dataclasses import replace
from pathlib import Path

from midstream.mathematics.inputs.pixels import pixels
from midstream.players.checking import Gate
from midstream.players.course import Ground
from midstream.players.interface import Player
from midstream.players.reporting import Say, Tell
from midstream.run.pretrained.prepared import prepare
from midstream.run.training import Training


def pretrain(
    run: Training, defender: Player, gate: Gate | None, *, cache: Path | None, tell: Tell, say: Say
) -> None:
    """Have a run's players learn on Dval what they must; see `midstream.run.pretrained.prepared.prepare`.

    Args:
        run: the run; the players see its architecture, its validation set and its settings.
        defender: the defender.
        gate: the checker; None if the run has none.
        cache: folder of pretrained state; None for the default.
        tell: called with the progress; an exception that it raises interrupts the pretraining.
        say: called with a sentence that says where the state came from.

    Raises:
        midstream.run.pretrained.prepared.LearningError: the pretraining failed.
    """
    specification, (inputs, labels) = run.specification, run.validation_here
    ground = Ground(
        validation_inputs=pixels(inputs),
        validation_labels=labels,
        classes=len(run.classes),
        budget=specification.budget,
        learning_rate=specification.learning_rate,
        batch_size=specification.batch_size,
        seed=specification.seed,
        role="defender",
        model_source=run.another_model,
    )
    players: list[tuple[str, object, Ground]] = [(specification.defender, defender, ground)]
    if gate is not None:
        players.append((gate.name, gate, replace(ground, role="checker")))
    for name, player, its in players:
        prepare(name, player, its, run=specification, cache=cache, tell=tell, say=say)
