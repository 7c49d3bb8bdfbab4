"""Checkers that score each example by itself, by the same rule for the batch and for Dval."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.players.interface import Batch, View
from midstream.players.scores.suspicion import Suspicion, among


@runtime_checkable
class Scoring(Protocol):
    """A checker whose scores an attacker can differentiate."""

    def score(self, inputs: Tensor, labels: Tensor, view: View) -> Tensor:
        """Return one number per example, larger for more suspicious ones, differentiable in the inputs."""


class Scored:
    """Ranks the scores of a batch among those of Dval; a subclass implements `Scoring.score`."""

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return the ranks of the batch's scores among those of Dval."""
        with torch.no_grad():
            known = self.score(pixels(view.validation_inputs), view.validation_labels, view)
            return among(known, self.score(batch.inputs, batch.labels, view))

    def score(self, inputs: Tensor, labels: Tensor, view: View) -> Tensor:
        """Return one number per example, larger for more suspicious ones, differentiable in the inputs."""
        raise NotImplementedError
