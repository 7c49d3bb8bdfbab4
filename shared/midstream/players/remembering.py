"""What a player remembers, as its host asks for it and gives it back."""

from collections.abc import Mapping

from torch import Tensor

from midstream.players.culprit import place
from midstream.players.interface import Player, Remembering
from midstream.players.referee import PlayerError, restore, state_of

RESUMED_ANYWAY = "resumed_anyway"
"""What an attacker's host reports, as 1, of the batch at which it went on although its memory did not fit."""


def remembers(player: Player) -> bool:
    """Return whether a player's next move may depend on its earlier ones.

    A player with a memory that its options leave empty says so with an attribute: `remembers = False`.
    Without its memory it makes the same moves.
    """
    return isinstance(player, Remembering) and bool(getattr(player, "remembers", True))


def memory_of(name: str, player: Player) -> dict[str, Tensor]:
    """Return a player's memory; see `midstream.players.referee.state_of`.

    Raises:
        PlayerError: it raised, or returned something other than tensors by name.
    """
    try:
        return state_of(player)
    except PlayerError:
        raise
    except Exception as error:
        raise PlayerError(
            f"{name!r} failed in state_dict, which is asked for before the first batch and after each: "
            f"{error!r}{place(error)}"
        ) from error


def give_back(name: str, player: Player, state: Mapping[str, Tensor]) -> None:
    """Give a player its memory back, where it has any.

    Raises:
        PlayerError: it raised.
    """
    try:
        restore(player, state)
    except Exception as error:
        raise PlayerError(f"{name!r} failed in load_state_dict: {error!r}{place(error)}") from error
