"""An attacker's state before the current batch, restored if the attack on that batch fails."""

from typing import Protocol

from torch import Tensor

from midstream.mathematics.inputs.rows import Rows
from midstream.players.interface import Player
from midstream.players.remembering import give_back, memory_of, rows_of


class Before(Protocol):
    """Restores a player's state before the current batch."""

    def mark(self) -> None:
        """Save the player's state before the next batch."""

    def back(self) -> None:
        """Restore the saved state."""


class Copies:
    """Holds a copy of a player's state; each mark copies only the tensors that changed.

    A tensor has changed if it is another object, or if torch has written to it.

    Args:
        name: the player's name.
        player: the player whose state is copied.
    """

    def __init__(self, name: str, player: Player) -> None:
        self._name = name
        self._player = player
        self._copies: dict[str, tuple[Tensor, int | None, Tensor]] = {}
        self._rows: Rows | None = None

    def mark(self) -> None:
        """Copy the changed tensors of the player's state."""
        self._rows = rows = rows_of(self._player)
        state = memory_of(self._name, self._player, without=rows)
        if rows is not None:
            rows.mark()
        for name, value in state.items():
            version = None if value.is_inference() else value._version
            known = self._copies.get(name)
            if known is None or known[0] is not value or version is None or known[1] != version:
                self._copies[name] = value, version, value.detach().clone()
        self._copies = {name: self._copies[name] for name in state}

    def back(self) -> None:
        """Restore the state of the last mark."""
        rows = self._rows
        copies = {name: copy.clone() for name, (_, _, copy) in self._copies.items()}
        give_back(self._name, self._player, copies, without=rows_of(self._player))
        now = rows_of(self._player)
        if rows is not None:
            rows.back()
        if now is not None and now is not rows:  # the player made another history
            now.load_state_dict({} if rows is None else rows.state_dict())


class Nothing:
    """Restores nothing, for a player whose owner restores it."""

    def mark(self) -> None:
        """Do nothing."""

    def back(self) -> None:
        """Do nothing."""
