"""How a host reads and restores a player's memory."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext

from torch import Tensor

from midstream.mathematics.inputs.rows import Rows
from midstream.mathematics.momentum import MomentumHistory
from midstream.players.culprit import place
from midstream.players.interface import Player, Remembering
from midstream.players.referee import PlayerError, restore, state_of

RESUMED_ANYWAY = "resumed_anyway"
"""Report of value 1 for the batch at which an attacker resumed although its memory did not match."""


def remembers(player: object) -> bool:
    """Return whether a player's next move may depend on its earlier ones.

    A player that could have a memory, but has none with its present options, sets an attribute
    `remembers = False`: it makes the same moves without its state.
    """
    return isinstance(player, Remembering) and bool(getattr(player, "remembers", True))


def rows_of(player: Player) -> Rows | None:
    """Return the rows in which a player remembers its last perturbation of each input.

    A host can store the rows that a batch changed, instead of all of them. None means that the player, with
    its `parts`, has no such memory or several; its whole memory is then in its `state_dict`.
    """
    found = list(_histories(player))
    return found[0].rows if len(found) == 1 else None


def _histories(player: object) -> Iterator[MomentumHistory]:
    yield from (
        value for value in getattr(player, "__dict__", {}).values() if isinstance(value, MomentumHistory)
    )
    for part in getattr(player, "parts", ()):
        yield from _histories(part)


def states_of(players: Mapping[str, object]) -> dict[str, Tensor]:
    """Return the memories of several players by name, each entry as `NAME.ENTRY`."""
    return {
        f"{name}.{entry}": value
        for name, player in players.items()
        for entry, value in state_of(player).items()
    }


def restore_each(players: Mapping[str, object], state: Mapping[str, Tensor]) -> None:
    """Restore what `states_of` returned for the same names; other entries are ignored."""
    for name, player in players.items():
        prefix = f"{name}."
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        restore(player, own)


def memory_of(name: str, player: Player, *, without: Rows | None = None) -> dict[str, Tensor]:
    """Return a player's memory; see `midstream.players.referee.state_of`.

    Args:
        name: the player's name.
        player: the player.
        without: rows to leave out, because the host stores them itself.

    Raises:
        PlayerError: the player raised, or returned something other than tensors by name.
    """
    try:
        with nullcontext() if without is None else without.left_out():
            return state_of(player)
    except PlayerError:
        raise
    except Exception as error:
        raise PlayerError(
            f"{name!r} failed in state_dict, which is asked for before the first batch and after each: "
            f"{error!r}{place(error)}"
        ) from error


def give_back(name: str, player: Player, state: Mapping[str, Tensor], *, without: Rows | None = None) -> None:
    """Restore a player's memory, if it has any.

    Args:
        name: the player's name.
        player: the player.
        state: what `memory_of` returned.
        without: rows to leave as they are, because the host restores them itself.

    Raises:
        PlayerError: the player raised.
    """
    try:
        with nullcontext() if without is None else without.left_out():
            restore(player, state)
    except Exception as error:
        raise PlayerError(f"{name!r} failed in load_state_dict: {error!r}{place(error)}") from error
