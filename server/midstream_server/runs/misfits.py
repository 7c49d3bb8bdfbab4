"""Defenders and checkers that do not fit a run are refused before its first step."""

from torch import nn

from midstream.defences.levels import NoDefense
from midstream.players.checking import Gate
from midstream.players.interface import Player
from midstream.players.wrappers.combination import rehearses
from midstream.plugins import PluginError
from midstream.protocol.specification import Specification
from midstream.run.batch_norm import refuse_single_example, refuse_wrong_player


def refuse_defender(defender: Player, specification: Specification, model: nn.Module) -> None:
    """Refuse a defender that is wrong for the run's batch norm, or for its accumulation of gradients.

    Raises:
        midstream.plugins.PluginError: the defender is wrong for the model.
        ValueError: the defender adds steps, and the run steps on several batches together.
    """
    refuse_wrong_player("defender", specification.defender, defender, model)
    if (specification.accumulate or 1) > 1 and rehearses(defender):
        raise ValueError(
            f"defender {specification.defender!r} has the run step on further batches after each one, "
            f"and accumulate {specification.accumulate} has it step on several together; leave one out"
        )


def refuse_gate(gate: Gate, defender: Player, model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Refuse a checker whose action the run cannot take.

    Raises:
        midstream.plugins.PluginError: it repairs without a defender, or may drop all examples but one of a
            minibatch, which the model's batch norm cannot train on.
    """
    if gate.action == "repair" and type(defender) is NoDefense:
        raise PluginError(f"checker {gate.name!r} repairs nothing without a defender; add one")
    if gate.action == "drop":
        refuse_single_example(model, input_shape, 1, dropping=gate.name)
