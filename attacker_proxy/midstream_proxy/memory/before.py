"""An attacker's state before the batch in hand, which it goes back to where it fails at that batch."""

from typing import Protocol

from torch import Tensor

from midstream.players.interface import Player
from midstream.players.remembering import give_back, memory_of


class Before(Protocol):
    """Takes a player back to before the batch in hand."""

    def mark(self) -> None:
        """Note the player's state: a batch comes."""

    def back(self) -> None:
        """Give the player the state that was noted."""


class Copies:
    """Keeps a copy of a player's state; at each mark it copies the tensors that changed.

    A tensor has changed if it is another object, or torch has written to it since.

    Args:
        name: the player's.
        player: whose state it is.
    """

    def __init__(self, name: str, player: Player) -> None:
        self._name = name
        self._player = player
        self._copies: dict[str, tuple[Tensor, int | None, Tensor]] = {}

    def mark(self) -> None:
        """Copy what changed of the player's state."""
        state = memory_of(self._name, self._player)
        for name, value in state.items():
            version = None if value.is_inference() else value._version
            known = self._copies.get(name)
            if known is None or known[0] is not value or version is None or known[1] != version:
                self._copies[name] = value, version, value.detach().clone()
        self._copies = {name: self._copies[name] for name in state}

    def back(self) -> None:
        """Give the player what was copied at the last mark."""
        give_back(
            self._name, self._player, {name: copy.clone() for name, (_, _, copy) in self._copies.items()}
        )


class Nothing:
    """Takes a player back to nothing, where whoever holds it does that."""

    def mark(self) -> None:
        """Do nothing."""

    def back(self) -> None:
        """Do nothing."""
