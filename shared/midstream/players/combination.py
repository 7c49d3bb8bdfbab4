"""Several defenders as one: `level-1+cutmix`, in the order written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from midstream.mathematics.budget import per_example
from midstream.mathematics.seeds import derive
from midstream.players.interface import Batch, Player, View
from midstream.players.referee import perturbation_of, restore, state_of
from midstream.players.remembering import remembers
from midstream.players.trained_on import augmented, augmented_rehearsal, rehearsed

Answer = TypeVar("Answer")


class Combination:
    """Several defenders, one after the other.

    Each moves the inputs that the one before it left, `x_i = clamp(x' + Proj(x_{i-1} + p_i - x'))`, held to
    the ball round the batch that arrived, `x_0 = x'`; so many share one budget. Each augments what the one
    before made of a batch, rehearsed or not; what all of them rehearse is rehearsed. Each draws numbers of
    its own.

    A number that a member reports under a name that an earlier one took is reported as `part_2_NAME`, by the
    member's place.

    Args:
        members: the players by name, at least one.
    """

    def __init__(self, members: Sequence[tuple[str, Player]]) -> None:
        self.names = tuple(name for name, _ in members)
        self.parts = tuple(player for _, player in members)
        self._tellers: dict[str, int] = {}

    @property
    def remembers(self) -> bool:
        """Whether one of the members does."""
        return any(map(remembers, self.parts))

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return what all of them together add to the batch that arrived."""
        self._tellers.clear()
        total = torch.zeros_like(batch.inputs)
        for place, (name, part) in self._members():
            reached = view.budget.perturb(batch.inputs, total)
            seen = replace(batch, inputs=reached)
            further = self._ask(place, view, partial(perturbation_of, name, part, seen))
            # An example that only one of them moves goes where that one alone takes it, to the bit.
            moved = reached - batch.inputs + further
            total = moved.where(~_still(total), further).where(~_still(further), total)
        return total

    def augment(self, batch: Batch, view: View) -> Batch:
        """Return what the members that augment make of a corrected batch."""
        for place, (name, part) in self._members():
            batch = self._ask(place, view, partial(augmented, name, part, batch))
        return batch

    def rehearse(self, batch: Batch, view: View) -> Sequence[Batch]:
        """Return what the members rehearse."""
        return [
            one
            for place, (name, part) in self._members()
            for one in self._ask(place, view, partial(rehearsed, name, part, batch))
        ]

    def augment_rehearsal(self, batch: Batch, view: View) -> Batch:
        """Return what the members that augment rehearsals make of a rehearsed batch."""
        for place, (name, part) in self._members():
            (batch,) = self._ask(place, view, partial(augmented_rehearsal, name, part, [batch]))
        return batch

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the members remember: `PLACE.NAME`."""
        return {
            f"{place}.{name}": value
            for place, part in enumerate(self.parts)
            for name, value in state_of(part).items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Give the members their memories back."""
        for place, part in enumerate(self.parts):
            prefix = f"{place}."
            own = {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
            restore(part, own)

    def _members(self) -> Iterable[tuple[int, tuple[str, Player]]]:
        return enumerate(zip(self.names, self.parts, strict=True))

    def _ask(self, place: int, view: View, ask: Callable[[View], Answer]) -> Answer:
        """Ask a member with a view of its own, and pass on what it reports."""
        own = replace(view, seed=derive(view.seed, "part", place), reports={})
        answer = ask(own)
        for name, value in own.reports.items():
            taken = self._tellers.setdefault(name, place) != place
            view.report(f"part_{1 + place}_{name}"[:40] if taken else name, value)
        return answer


def _still(perturbation: Tensor) -> Tensor:
    """Return which examples are not moved at all, to be compared with a batch."""
    return per_example(~perturbation.flatten(1).any(dim=1), perturbation)
