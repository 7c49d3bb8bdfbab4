"""Which players are wrong for a model whose batch norm trains on the statistics of each minibatch."""

from typing import Protocol, runtime_checkable

from torch import nn

from midstream.mathematics.derivatives.batch_statistics import Statistics, statistics_of
from midstream.players.interface import Player


@runtime_checkable
class Selective(Protocol):
    """A player that is wrong for some models with trained batch norm."""

    def against_batch_norm(self, statistics: Statistics) -> str | None:
        """Return why this player is wrong for such a model, and what to do; None if it is right."""


def against_batch_norm(player: Player, model: nn.Module) -> str | None:
    """Return why a player, or one of its `parts`, is wrong for a model; None if it is right.

    The model has batch norm that trains if `midstream.use_batch_statistics` marked it; every player is right
    for another model. A plug-in that is not `Selective` is taken to be right.
    """
    statistics = statistics_of(model)
    return None if statistics is None else _reason(player, statistics)


def _reason(player: Player, statistics: Statistics) -> str | None:
    if isinstance(player, Selective) and (why := player.against_batch_norm(statistics)):
        return why
    reasons = (_reason(part, statistics) for part in getattr(player, "parts", ()))
    return next((why for why in reasons if why), None)
