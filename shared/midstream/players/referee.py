"""How a host holds a player to the rules of `midstream.players.interface`.

Every move, every change of labels and every state of a player passes through the functions here: what they
return is checked, and what breaks the rules raises an error that names the player.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from reprlib import repr as shortened

from torch import Tensor

from midstream.errors import MidstreamError
from midstream.players.checks import Checks
from midstream.players.culprit import place
from midstream.players.interface import Batch, Player, Relabelling, Remembering, View

PASSED_CLEAN = "passed_clean"
"""Report of value 1 for a batch that was passed on although the player failed at it."""


class HostError(MidstreamError, RuntimeError):
    """The host could not provide what a player asked its view for; the cause says why."""


class PlayerError(MidstreamError, RuntimeError):
    """A player broke the rules of its interface; the message names the player and the rule."""


def move(name: str, player: Player, batch: Batch, view: View, *, checks: Checks | None = None) -> Tensor:
    """Let a player make its move; check it, and return the inputs after it.

    Args:
        name: the player's name.
        player: the player.
        batch: the batch.
        view: what the player sees.
        checks: what to add the conditions on the numbers to, so that the caller reads them later, with
            others; None reads them now.

    Raises:
        PlayerError: the player raised, or returned something other than finite numbers of the right shape.
        HostError: the host could not provide what the player asked its view for.
        ValueError: the batch leaves the pixel range.
    """
    found, budget = Checks() if checks is None else checks, view.budget
    perturbation = perturbation_of(name, player, batch, view, checks=found)
    found.require(budget.within(batch.inputs), lambda: budget.refusal(batch.inputs))
    if checks is None:
        found.settle()
    return budget.moved(batch.inputs, perturbation)


def perturbation_of(
    name: str, player: Player, batch: Batch, view: View, *, checks: Checks | None = None
) -> Tensor:
    """Return a player's perturbation, checked but not yet projected; see `move`."""
    try:
        # A copy, so that a player cannot bypass the budget by writing into its batch.
        perturbation = player.perturb(
            replace(batch, inputs=batch.inputs.clone(), labels=batch.labels.clone()), view
        )
    except (HostError, PlayerError):  # a combination's PlayerError already names the member
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
    what = f"{view.role} {name!r} returned a NaN or an infinity at batch {batch.seq}"
    found = Checks() if checks is None else checks
    found.require(perturbation.isfinite().all(), lambda: PlayerError(what))
    if checks is None:
        found.settle()
    return perturbation


def relabelled(name: str, player: Player, batch: Batch, view: View) -> Tensor:
    """Return a batch's labels after an attacker's move: unchanged, unless the attacker relabels.

    Raises:
        PlayerError: the player raised, or returned something other than class indices of the right shape.
        HostError: the host could not provide what the player asked its view for.
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


def state_of(player: object) -> dict[str, Tensor]:
    """Return a player's memory; empty if it has none.

    Raises:
        PlayerError: the memory is not a mapping of names to tensors.
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
                f"string; torch.tensor converts a number"
            )
    return dict(state)


def restore(player: object, state: Mapping[str, Tensor]) -> None:
    """Restore a player's memory, if it has any."""
    if isinstance(player, Remembering):
        player.load_state_dict(state)


def pass_clean(view: View, error: PlayerError) -> None:
    """Report that a batch is passed on although the player failed at it; drop its other reports."""
    logging.getLogger("midstream.players.interface").warning("%s; the batch goes on unchanged", error)
    view.reports.clear()
    view.report(PASSED_CLEAN, 1)
