"""The memories of a run's players before a batch, restored if the batch is not trained on as they saw it."""

from collections.abc import Mapping

from torch import Tensor

from midstream.players.referee import restore, state_of
from midstream.players.remembering import remembers


class Memories:
    """Copies of what players remember.

    Args:
        players: the players; one that does not remember is left alone.

    Raises:
        midstream.players.referee.PlayerError: a memory is not a mapping of names to tensors.
    """

    def __init__(self, *players: object) -> None:
        self._saved: list[tuple[object, Mapping[str, Tensor]]] = [
            (player, {name: value.clone() for name, value in state_of(player).items()})
            for player in players
            if remembers(player)
        ]

    def back(self) -> None:
        """Have each player remember what it did when this was made."""
        for player, saved in self._saved:
            restore(player, {name: value.clone() for name, value in saved.items()})
