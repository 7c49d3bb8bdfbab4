"""Several defenders combined into one, such as `level-1+cutmix`; they act in the order written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from midstream.mathematics.budget import per_example
from midstream.mathematics.seeds import derive
from midstream.players.interface import Batch, Player, Rehearsing, View
from midstream.players.referee import perturbation_of
from midstream.players.remembering import remembers, restore_each, states_of
from midstream.players.trained_on import augmented, augmented_rehearsal, rehearsed

Answer = TypeVar("Answer")


class Combination:
    """Several defenders that act one after the other.

    Each member moves the inputs that the previous one returned, `x_i = clamp(x' + Proj(x_{i-1} + p_i - x'))`,
    starting from the batch that arrived, `x_0 = x'`. The projection is onto the ball around `x'`, so all
    members share one budget. Each member augments the output of the previous one, for rehearsed batches too.
    The batches that any member rehearses are all rehearsed. Each member has random numbers of its own.

    If a member reports a number under a name that an earlier member has used, it is recorded as
    `part_2_NAME`, with the member's position.

    Args:
        members: pairs of name and player, at least one.
    """

    def __init__(self, members: Sequence[tuple[str, Player]]) -> None:
        self.names = tuple(name for name, _ in members)
        self.parts = tuple(player for _, player in members)
        self._reporters: dict[str, int] = {}

    @property
    def remembers(self) -> bool:
        """Whether any member remembers."""
        return any(map(remembers, self.parts))

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbation that all members together add to the batch that arrived."""
        self._reporters.clear()
        total = torch.zeros_like(batch.inputs)
        for place, (name, part) in self._members():
            reached = view.budget.perturb(batch.inputs, total)
            seen = replace(batch, inputs=reached)
            further = self._ask(place, view, partial(perturbation_of, name, part, seen))
            # If only one member moves an example, the result is bit for bit that member's own.
            moved = reached - batch.inputs + further
            total = moved.where(~_still(total), further).where(~_still(further), total)
        return total

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return a corrected batch after each augmenting member in turn."""
        for place, (name, part) in self._members():
            batch = self._ask(place, view, partial(augmented, name, part, batch))
        return batch

    def rehearse(self, batch: Batch, view: View) -> Sequence[Batch]:
        """Return the batches that the members rehearse."""
        return [
            one
            for place, (name, part) in self._members()
            for one in self._ask(place, view, partial(rehearsed, name, part, batch))
        ]

    def augment_rehearsal(self, batch: Batch, view: View) -> Batch:
        """Return a rehearsed batch after each member in turn that augments rehearsed batches."""
        for place, (name, part) in self._members():
            (batch,) = self._ask(place, view, partial(augmented_rehearsal, name, part, [batch]))
        return batch

    def state_dict(self) -> dict[str, Tensor]:
        """Return the members' memories, under `PLACE.NAME`."""
        return states_of(self._by_place())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the members' memories."""
        restore_each(self._by_place(), state)

    def _by_place(self) -> dict[str, Player]:
        return {str(place): part for place, part in enumerate(self.parts)}

    def _members(self) -> Iterable[tuple[int, tuple[str, Player]]]:
        return enumerate(zip(self.names, self.parts, strict=True))

    def _ask(self, place: int, view: View, ask: Callable[[View], Answer]) -> Answer:
        """Call a member with a view of its own, and forward its reports."""
        own = replace(view, seed=derive(view.seed, "part", place), reports={})
        answer = ask(own)
        for name, value in own.reports.items():
            taken = self._reporters.setdefault(name, place) != place
            view.report(f"part_{1 + place}_{name}"[:40] if taken else name, value)
        return answer


def _still(perturbation: Tensor) -> Tensor:
    """Return a mask of the examples that are not moved at all; it broadcasts over a batch."""
    return per_example(~perturbation.flatten(1).any(dim=1), perturbation)


def rehearses(player: Player) -> bool:
    """Return whether a defender, or a member of a combination, rehearses batches."""
    if isinstance(player, Combination):
        return any(map(rehearses, player.parts))
    return isinstance(player, Rehearsing)
