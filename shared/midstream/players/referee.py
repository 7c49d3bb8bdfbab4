"""How a host holds a player to the rules: each move, its labels, its reports and its state are checked."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from reprlib import repr as shortened
from typing import Literal

from torch import Tensor

from midstream.errors import MidstreamError
from midstream.players.culprit import place
from midstream.players.interface import Batch, Player, Relabelling, Remembering, View

OnError = Literal["stop", "pass-clean"]


"""What becomes of a batch that a player fails at: it is refused, or goes on as if there were no player."""


PASSED_CLEAN = "passed_clean"


"""What the host reports, as 1, of a batch that went on although the player failed at it."""


def relabelled(name: str, player: Player, batch: Batch, view: View) -> Tensor:
    """Return a batch's labels after an attacker's move: as they were, unless it is one that changes them.

    Raises:
        PlayerError: the player raised, or returned something other than class indices of the right shape.
        HostError: the view could not give it what it asked for.
    """
    if not isinstance(player, Relabelling):
        return batch.labels
    try:
        labels = player.relabel(replace(batch, labels=batch.labels.clone()), view)
    except HostError:
        raise
    except Exception as error:
        raise PlayerError(
            f"{view.role} {name!r} failed at the labels of batch {batch.seq}: {error!r}{place(error)}"
        ) from error
    found, wanted = _described(labels), _described(batch.labels)
    if found != wanted:
        raise PlayerError(
            f"{view.role} {name!r} returned {found} as labels at batch {batch.seq}, not {wanted}"
        )
    return labels


def _described(labels: object) -> str:
    if not isinstance(labels, Tensor):
        return f"a {type(labels).__name__}"
    return f"{labels.dtype} of shape {tuple(labels.shape)}"


def state_of(player: Player) -> dict[str, Tensor]:
    """Return a player's memory; nothing where it has none.

    Raises:
        PlayerError: it is something other than tensors by name.
    """
    if not isinstance(player, Remembering):
        return {}
    state = player.state_dict()
    name = type(player).__name__
    if not isinstance(state, Mapping):
        raise PlayerError(f"{name}.state_dict returned a {type(state).__name__}, not tensors by name")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise PlayerError(
                f"{name}.state_dict holds {shortened(value)} under {shortened(key)}, not a tensor under a "
                f"text; torch.tensor turns a number into one"
            )
    return dict(state)


def restore(player: Player, state: Mapping[str, Tensor]) -> None:
    """Give a player its memory back, where it has any."""
    if isinstance(player, Remembering):
        player.load_state_dict(state)


class HostError(MidstreamError, RuntimeError):
    """What a player asked its view for could not be had; the cause says why."""


class PlayerError(MidstreamError, RuntimeError):
    """A player broke the rules of `Player.perturb`; the message names it and says how."""


def pass_clean(view: View, error: PlayerError) -> None:
    """Report that a batch goes on although the player failed at it, and nothing else of its move."""
    logging.getLogger("midstream.players.interface").warning("%s; the batch goes on as it came", error)
    view.reports.clear()
    view.report(PASSED_CLEAN, 1)


def move(name: str, player: Player, batch: Batch, view: View) -> Tensor:
    """Let a player make its move, and return the inputs after it, checked.

    Raises:
        PlayerError: the player raised, or returned something other than finite numbers of the right shape.
        HostError: the view could not give it what it asked for.
    """
    return view.budget.perturb(batch.inputs, perturbation_of(name, player, batch, view))


def perturbation_of(name: str, player: Player, batch: Batch, view: View) -> Tensor:
    """Return what a player returned as its move, checked but not projected yet; see `move`."""
    try:
        # Its own copy: what a player writes into its batch is no way around the budget.
        perturbation = player.perturb(
            replace(batch, inputs=batch.inputs.clone(), labels=batch.labels.clone()), view
        )
    except (HostError, PlayerError):  # the latter of a member of a combination, which it names
        raise
    except Exception as error:
        raise PlayerError(
            f"{view.role} {name!r} failed at batch {batch.seq}: {error!r}{place(error)}"
        ) from error
    if not isinstance(perturbation, Tensor):
        kind = type(perturbation).__name__
        raise PlayerError(f"{view.role} {name!r} returned a {kind} at batch {batch.seq}, not a tensor")
    if perturbation.shape != batch.inputs.shape:
        raise PlayerError(
            f"{view.role} {name!r} returned shape {tuple(perturbation.shape)} at batch {batch.seq}, "
            f"not {tuple(batch.inputs.shape)}"
        )
    perturbation = perturbation.detach().to(batch.inputs)
    if not perturbation.isfinite().all():
        raise PlayerError(f"{view.role} {name!r} returned a NaN or an infinity at batch {batch.seq}")
    return perturbation
