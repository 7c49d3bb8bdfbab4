"""Drops, repeats, adds and reorders the examples of each minibatch, around any attacker."""

from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.seeds import permutation
from midstream.players.interface import Batch, View
from midstream.players.wrappers.composing import MOST
from midstream.players.wrappers.wrapper import Wrapper


@dataclass(kw_only=True)
class Composition(Wrapper):
    """Any attacker, which also chooses the examples of a minibatch: `drop`, `repeat`, `add`, `reorder`.

    Of n examples that came, `round(drop n)` are left out, but never all. Of those that stay,
    `round(repeat n)` are sent twice. Then `round(add n)` examples of Dval are added with their labels. With
    `reorder`, all are put in a random order. The run's seed and the batch's number decide the draws. The
    attacker then sees and moves the new minibatch. With `none` as the attacker, nothing else is changed.

    A run trains on the sum of the losses. Fewer examples therefore make a smaller gradient, and a repeated
    example counts twice. The order changes only the last bits of a sum. The metrics of each step hold the
    numbers as `dropped`, `repeated` and `added`.

    Args:
        inner: the attacker.
        drop: share of the minibatch to leave out, from 0 to 1.
        repeat: share of the minibatch to send twice, from 0 to 1.
        add: share of the minibatch to add from Dval, from 0 to 1.
        reorder: whether to shuffle the minibatch.
    """

    drop: float = 0.0
    repeat: float = 0.0
    add: float = 0.0
    reorder: bool = False

    def __post_init__(self) -> None:
        for name in ("drop", "repeat", "add"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, from 0 to 1, not {getattr(self, name)}")
        if self.repeat + self.add > 1 + self.drop:
            raise ValueError(
                f"repeat={self.repeat} and add={self.add} make a minibatch more than twice as large; a run "
                f"takes at most twice its batch size"
            )

    @property
    def composes(self) -> bool:
        """Whether it sends other examples than came: always."""
        return True

    def compose(self, batch: Batch, view: View) -> Batch:
        """Return the minibatch of the chosen examples."""
        batch = super().compose(batch, view)
        count = len(batch.labels)
        kept = self._drawn(count, max(1, count - round(self.drop * count)), batch, view, "drop")
        again = kept[self._drawn(len(kept), round(self.repeat * count), batch, view, "repeat")]
        known = view.validation_labels
        room = MOST * count - len(kept) - len(again)  # rounding may ask for one more
        wanted = min(room, round(self.add * count))
        more = self._drawn(len(known), wanted, batch, view, "add").to(known.device)
        rows = torch.cat([kept, again]).to(batch.labels.device)
        inputs = torch.cat([batch.inputs[rows], pixels(view.validation_inputs[more]).to(batch.inputs)])
        labels = torch.cat([batch.labels[rows], known[more].to(batch.labels)])
        for name, number in (("dropped", count - len(kept)), ("repeated", len(again)), ("added", len(more))):
            view.report(name, number)
        if self.reorder:
            order = torch.from_numpy(permutation(len(labels), view.seed, batch.seq, "reorder"))
            inputs, labels = inputs[order.to(inputs.device)], labels[order.to(labels.device)]
        return Batch(batch.seq, inputs, labels)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's perturbations of the composed minibatch."""
        return self.inner.perturb(batch, view)

    def _drawn(self, size: int, wanted: int, batch: Batch, view: View, purpose: str) -> Tensor:
        """Return `wanted` of `size` places in ascending order, or all if there are fewer."""
        return torch.from_numpy(permutation(size, view.seed, batch.seq, purpose)[:wanted]).sort().values


OPTIONS = ("drop", "repeat", "add", "reorder")
"""Options that every attacker accepts; an attacker's own option of the same name takes precedence."""
