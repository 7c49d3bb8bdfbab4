"""Restricts an attacker to a share of the examples, or of the batches."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from midstream.mathematics.budget import per_example
from midstream.mathematics.seeds import derive
from midstream.players.interface import Batch, Relabelling, View
from midstream.players.wrappers.wrapper import Wrapper

Share = Literal["examples", "batches"]


@dataclass(kw_only=True)
class Fraction(Wrapper):
    """Any attacker, restricted to a share of the examples or batches; the others pass unchanged.

    The run's seed decides which. An example is recognised by its content, and attacked at every visit or
    never; a batch is recognised by its number. Each is drawn independently, so the share is approximate;
    those drawn for a smaller fraction are among those drawn for a larger one. The attacker sees whole
    batches, since a training step uses a whole batch. It is not called for untouched batches.

    Args:
        inner: the attacker.
        fraction: the share to attack, from 0 to 1.
        fraction_of: `examples` or `batches`.
    """

    fraction: float = 1.0
    fraction_of: Share = "examples"

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction is a share, from 0 to 1, not {self.fraction}")

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's perturbations of the examples drawn, and zeros for the others."""
        touched = self._touched(batch, view)
        if not touched.any():
            return torch.zeros_like(batch.inputs)
        moves = self.inner.perturb(batch, view)
        if not isinstance(moves, Tensor) or moves.shape != batch.inputs.shape:
            return moves  # for the host to refuse
        return torch.where(per_example(touched.to(moves.device), moves), moves, torch.zeros_like(moves))

    def compose(self, batch: Batch, view: View) -> Batch:
        """Return the attacker's minibatch; one of the batches that were not drawn stays as it is."""
        drawn = self.fraction_of == "examples" or bool(self._touched(batch, view).any())
        return super().compose(batch, view) if drawn else batch

    def relabel(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's labels of the examples drawn, and the batch's own for the others."""
        touched = self._touched(batch, view)
        if not isinstance(self.inner, Relabelling) or not touched.any():
            return batch.labels
        kept = batch.labels.clone()  # the attacker may write into the batch's labels
        labels = self.inner.relabel(batch, view)
        if not isinstance(labels, Tensor) or labels.shape != kept.shape or labels.dtype != kept.dtype:
            return labels  # for the host to refuse
        return torch.where(per_example(touched.to(labels.device), labels), labels, kept)

    def _touched(self, batch: Batch, view: View) -> Tensor:
        if self.fraction_of == "batches":
            drawn = [derive(view.seed, "fraction", batch.seq)] * len(batch.inputs)
        else:
            drawn = [derive(view.seed, "fraction", key.hex()) for key in batch.content_keys()]
        return torch.tensor([number < self.fraction * 2**63 for number in drawn])


OPTIONS = ("fraction", "fraction_of")
"""Options that every attacker accepts; an attacker's own option of the same name takes precedence."""
