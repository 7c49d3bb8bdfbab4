"""Attackers that choose which examples are sent, and how their host holds them to the rules."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from midstream.mathematics.inputs.content_keys import content_keys
from midstream.players.culprit import place
from midstream.players.interface import Batch, View
from midstream.players.referee import HostError, PlayerError

MOST = 2
"""A composed minibatch has at most this many times the examples of the one that came."""


@runtime_checkable
class Composing(Protocol):
    """An attacker that sends other examples than came: fewer, more, or in another order.

    The run must accept minibatches of any size, see `batch_sizes` in the specification; `midstream play` sees
    to that. A player that could compose, but does not with its present options, sets `composes = False`.
    """

    def compose(self, batch: Batch, view: View) -> Batch:
        """Return the minibatch to attack and send in place of `batch`.

        It has between one example and twice as many as came. Inputs and labels follow the rules of any
        minibatch. `perturb` and `relabel` are then asked about it.
        """


def composes(player: object) -> bool:
    """Return whether an attacker may send other examples than came.

    >>> class Half:
    ...     def compose(self, batch, view):
    ...         return Batch(batch.seq, batch.inputs[::2], batch.labels[::2])
    >>> composes(Half()), composes(object())
    (True, False)
    """
    return isinstance(player, Composing) and bool(getattr(player, "composes", True))


def composed(name: str, player: object, batch: Batch, view: View) -> Batch:
    """Return the minibatch that an attacker attacks: `batch`, unless it composes another one.

    Raises:
        PlayerError: the player raised, or returned something other than a minibatch of this run.
        HostError: the host could not provide what the player asked its view for.
    """
    if not composes(player):
        return batch
    assert isinstance(player, Composing)
    what = f"{view.role} {name!r}"
    try:
        found = player.compose(replace(batch, inputs=batch.inputs.clone(), labels=batch.labels.clone()), view)
    except (HostError, PlayerError):
        raise
    except Exception as error:
        raise PlayerError(
            f"{what} failed at the examples of batch {batch.seq}: {error!r}{place(error)}"
        ) from error
    if (wrong := _misfit(found, batch, view)) is not None:
        raise PlayerError(f"{what} composed {wrong} at batch {batch.seq}")
    keys: Callable[[], list[bytes]] = cache(partial(content_keys, found.inputs))
    return Batch(batch.seq, found.inputs.detach(), found.labels, keys)


def _misfit(found: object, batch: Batch, view: View) -> str | None:
    """Return what is wrong with a composed minibatch; None if nothing is."""
    if not isinstance(found, Batch):
        return f"a {type(found).__name__}, not a Batch"
    for name, like in (("inputs", batch.inputs), ("labels", batch.labels)):
        tensor = getattr(found, name)
        if not isinstance(tensor, Tensor) or tensor.dtype != like.dtype or tensor.shape[1:] != like.shape[1:]:
            shown = f"{tensor.dtype} of shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else tensor
            return f"{name} of {shown}, where {like.dtype} of shape {tuple(like.shape)} came"
    count, most = len(found.labels), MOST * len(batch.labels)
    if len(found.inputs) != count:
        return f"{len(found.inputs)} inputs with {count} labels"
    if not 1 <= count <= most:
        return f"{count} examples; {len(batch.labels)} came, so there may be 1 to {most}"
    if not bool(torch.isfinite(found.inputs).all()) or not bool(view.budget.within(found.inputs)):
        return "inputs that leave the pixel range"
    return None
