"""What a run with trained batch norm refuses before its first step."""

import torch
from torch import nn

from midstream.mathematics.derivatives.batch_statistics import as_trained
from midstream.mathematics.derivatives.functional import functional_call
from midstream.players.batch_norm import against_batch_norm
from midstream.players.interface import Player
from midstream.plugins import PluginError


def refuse_wrong_player(role: str, name: str, player: Player, model: nn.Module) -> None:
    """Refuse a player whose moves would be wrong for the model's batch norm.

    Raises:
        midstream.plugins.PluginError: the message names the player and says why.
    """
    if (why := against_batch_norm(player, model)) is not None:
        raise PluginError(f"{role} {name!r} does not play against batch norm that trains: {why}")


def refuse_single_example(
    model: nn.Module,
    input_shape: tuple[int, ...],
    smallest: int,
    *,
    dropping: str | None = None,
    any_size: bool = False,
) -> None:
    """Refuse a smallest minibatch of one example if the model has no batch statistics of one.

    Args:
        model: the model, on its device.
        input_shape: shape of one input.
        smallest: the number of examples in the smallest minibatch.
        dropping: the name of a checker that may drop all examples of a minibatch but one.
        any_size: whether the smallest minibatch is small because the run takes minibatches of any size.

    Raises:
        midstream.plugins.PluginError: the model fails on one example in training mode.
    """
    if smallest > 1:
        return
    device = next(model.parameters()).device
    try:
        with as_trained(model), torch.no_grad():
            functional_call(model, {}, (torch.zeros(1, *input_shape, device=device),))
    except ValueError as error:
        if dropping is not None:
            raise PluginError(
                f"checker {dropping!r} may leave one example of a minibatch, and batch norm cannot train on "
                f"it: {error}. Choose another action"
            ) from error
        if any_size:
            raise PluginError(
                f"the run takes minibatches of any size (--batch-sizes any, for an attacker who drops, "
                f"repeats, adds or reorders examples), and batch norm cannot train on one example: {error}. "
                f"Choose another attacker, or a model without batch norm that trains"
            ) from error
        raise PluginError(
            f"the smallest minibatch of an epoch has one example, and batch norm cannot train on it: "
            f"{error}. Choose another batch size or number of training examples"
        ) from error
