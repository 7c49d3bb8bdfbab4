"""Restricts an attacker of embedded sentences to tokens: what it sends can be written as text."""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from midstream.players.interface import Batch, View
from midstream.players.wrappers.wrapper import Wrapper
from midstream.tasks.tokens import as_tokens, vocabulary


@dataclass(kw_only=True)
class Tokens(Wrapper):
    """Any attacker on sequences of embeddings, each perturbed embedding replaced by the nearest token's.

    The tokens are the distinct embeddings of the public validation set. A position whose nearest token would
    leave the ball keeps its own, see `midstream.tasks.tokens.as_tokens`; what is sent is therefore both a
    sequence of tokens and within the budget.

    Args:
        inner: the attacker.
        tokens: `free` leaves its perturbations as they are, `nearest` replaces them.
    """

    tokens: Literal["free", "nearest"] = "free"
    _table: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's perturbations, or those to the nearest tokens."""
        found = self.inner.perturb(batch, view)
        if self.tokens == "free" or not isinstance(found, Tensor) or found.shape != batch.inputs.shape:
            return found  # of a wrong shape: for the host to refuse
        if self._table is None:
            self._table = vocabulary(view.validation_inputs)
        return as_tokens(batch.inputs, view.budget.project(found), self._table, view.budget)


OPTIONS = ("tokens",)
"""Options that every attacker accepts; an attacker's own option of the same name takes precedence."""
