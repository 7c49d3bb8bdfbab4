"""How the training server asks a defender for augmented and rehearsed batches, and checks them.

The batch of a step may be augmented, and may be followed by rehearsed batches. All of them are requested and
checked before the model changes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from midstream.mathematics.seeds import derive
from midstream.players.culprit import place
from midstream.players.interface import Augmenting, AugmentingRehearsal, Batch, Player, Rehearsing, View
from midstream.players.referee import HostError, PlayerError
from midstream.tasks import targets
from midstream.tasks.task import Kind

Answer = TypeVar("Answer")

_ROUNDING = 1e-4  # tolerance for the sum of class shares


def augmented(name: str, player: Player, batch: Batch, view: View) -> Batch:
    """Return the batch to train on in place of a corrected batch: unchanged, unless the player augments.

    Args:
        name: the player's name.
        player: the defender.
        batch: the corrected batch.
        view: what the defender sees; its random numbers here differ from those of its move.

    Raises:
        PlayerError: the player raised, or returned something that cannot be trained on.
    """
    if not isinstance(player, Augmenting):
        return batch
    what = f"augment of {view.role} {name!r}"
    seen = replace(view, seed=derive(view.seed, "augment"))
    found = _answer(what, partial(player.augment, _copy(batch), seen), batch)
    return _trainable(what, found, batch, view, length=len(batch.inputs))


def rehearsed(name: str, player: Player, batch: Batch, view: View) -> list[Batch]:
    """Return the batches that a player rehearses after this one, checked as in `augmented`."""
    if not isinstance(player, Rehearsing):
        return []
    what = f"rehearse of {view.role} {name!r}"
    seen = replace(view, seed=derive(view.seed, "rehearse"))
    batches = _answer(what, partial(player.rehearse, _copy(batch), seen), batch)
    if not isinstance(batches, Sequence):
        raise PlayerError(f"{what} returned a {type(batches).__name__} at batch {batch.seq}, not batches")
    return [_trainable(what, one, batch, view, length=None) for one in batches]


def augmented_rehearsal(name: str, player: Player, batches: Sequence[Batch], view: View) -> list[Batch]:
    """Return rehearsed batches, each augmented separately and checked as in `augmented`."""
    if not isinstance(player, AugmentingRehearsal):
        return list(batches)
    what = f"augment_rehearsal of {view.role} {name!r}"
    found = []
    for number, batch in enumerate(batches):
        seen = replace(view, seed=derive(view.seed, "rehearsal", number))
        answer = _answer(what, partial(player.augment_rehearsal, _copy(batch), seen), batch)
        found.append(_trainable(what, answer, batch, view, length=len(batch.inputs)))
    return found


def _copy(batch: Batch) -> Batch:
    return replace(batch, inputs=batch.inputs.clone(), labels=batch.labels.clone())


def _answer(what: str, ask: Callable[[], Answer], batch: Batch) -> Answer:
    try:
        return ask()
    except (HostError, PlayerError):
        raise
    except Exception as error:
        raise PlayerError(f"{what} failed at batch {batch.seq}: {error!r}{place(error)}") from error


def _trainable(what: str, found: object, like: Batch, view: View, *, length: int | None) -> Batch:
    """Return a checked batch with the number of `like`; a `length` of None accepts any length."""

    def refused(reason: str) -> PlayerError:
        return PlayerError(f"{what} returned {reason} at batch {like.seq}")

    if not isinstance(found, Batch):
        raise refused(f"a {type(found).__name__}, not a Batch,")
    inputs, labels = found.inputs, found.labels
    if not isinstance(inputs, Tensor) or not isinstance(labels, Tensor):
        raise refused("a Batch whose inputs or labels are not tensors,")
    length = length or max(1, len(inputs) if inputs.dim() else 0)
    shape = (length, *like.inputs.shape[1:])
    if inputs.shape != shape:
        raise refused(f"inputs of shape {tuple(inputs.shape)}, not {shape},")
    inputs = inputs.detach().to(like.inputs)
    lowest, highest = (value.item() for value in inputs.aminmax())
    held = view.budget.low <= lowest and highest <= view.budget.high and math.isfinite(highest - lowest)
    if not held:  # this includes a NaN in either
        found_there = "a NaN" if lowest != lowest else f"pixels from {lowest:.4g} to {highest:.4g}"
        raise refused(f"{found_there}, outside of [{view.budget.low:g}, {view.budget.high:g}],")
    labels = labels.detach().to(like.inputs.device)
    if fault := _fault(labels, length, view.classes, view.task):
        raise refused(fault)
    labels = labels.to(like.inputs.dtype) if labels.is_floating_point() else labels
    return Batch(like.seq, inputs, labels)


def _fault(labels: Tensor, length: int, classes: int, task: Kind) -> str | None:
    """Return what is wrong with labels, as text; None if they are valid."""
    if task != "classification":
        reason = targets.fault(task, labels, length=length, outputs=classes)
        return None if reason is None else f"targets that {reason},"
    if labels.dtype == torch.int64 and labels.shape == (length,):
        first, last = (int(value) for value in labels.aminmax())
        return (
            None if first >= 0 and last < classes else f"labels from {first} to {last} of {classes} classes"
        )
    if not labels.is_floating_point() or labels.shape != (length, classes):
        return (
            f"labels of {labels.dtype} and shape {tuple(labels.shape)}, not int64 of ({length},) or float "
            f"shares of {(length, classes)},"
        )
    if not (labels >= 0).all() or not ((labels.sum(dim=1) - 1).abs() <= _ROUNDING).all():
        return "shares of classes that are below 0 or do not sum to 1"
    return None
