"""How a host reads and restores a player's memory."""

from collections.abc import Mapping

from torch import Tensor

from midstream.players.culprit import place
from midstream.players.interface import Player, Remembering
from midstream.players.referee import PlayerError, restore, state_of

RESUMED_ANYWAY = "resumed_anyway"
"""Report of value 1 for the batch at which an attacker resumed although its memory did not match."""


def remembers(player: Player) -> bool:
    """Return whether a player's next move may depend on its earlier ones.

    A player that could have a memory, but has none with its present options, sets an attribute
    `remembers = False`: it makes the same moves without its state.
    """
    return isinstance(player, Remembering) and bool(getattr(player, "remembers", True))


def memory_of(name: str, player: Player) -> dict[str, Tensor]:
    """Return a player's memory; see `midstream.players.referee.state_of`.

    Raises:
        PlayerError: the player raised, or returned something other than tensors by name.
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
    """Restore a player's memory, if it has any.

    Raises:
        PlayerError: the player raised.
    """
    try:
        restore(player, state)
    except Exception as error:
        raise PlayerError(f"{name!r} failed in load_state_dict: {error!r}{place(error)}") from error
