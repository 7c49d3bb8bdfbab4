"""Detection by the distance to the nearest trusted examples."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from midstream.mathematics.pixels import pixels
from midstream.players.features import features_and_outputs
from midstream.players.interface import Batch, View
from midstream.players.suspicion import Suspicion, among


@dataclass(kw_only=True)
class Knn:
    """An example far from Dval's of its class is suspicious (Deep k-NN, Peri et al. 2020; not in Table 1).

    `s(x, y) = ‖f(x) - f(z)‖` with z the k-th nearest example of label y in Dval, which itself is scored
    without itself. Peri et al. look at the labels of the neighbours within the batch; here the
    neighbours are trusted, so the distance to those of the own label finds moved and relabelled examples.
    A class with fewer than k examples in Dval takes its farthest one; a class without any takes the k-th
    nearest of all classes.

    Shapes: inputs `(batch, *input)`, labels `(batch,)`; scores `(batch,)`, in pixel units for
    `space=pixels`. Cost: (batch + m) × m distances for m examples in Dval, and for `space=features` one
    forward pass of the batch and one of Dval.

    Args:
        k: which neighbour, counted from 1.
        space: `pixels` compares inputs, `features` what the last linear layer receives.
    """

    k: int = 3
    space: Literal["pixels", "features"] = "pixels"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k counts neighbours from 1, not {self.k}")

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return the ranks of the distances among those within Dval."""
        with torch.no_grad():
            trusted, labels = self._placed(pixels(view.validation_inputs), view), view.validation_labels
            distances = torch.cdist(trusted, trusted).fill_diagonal_(float("inf"))
            return among(
                self._nearest(distances, labels, labels), self.score(batch.inputs, batch.labels, view)
            )

    def score(self, inputs: Tensor, labels: Tensor, view: View) -> Tensor:
        """Return the distance of each example to the k-th nearest one of its label in Dval."""
        trusted = self._placed(pixels(view.validation_inputs), view)
        return self._nearest(torch.cdist(self._placed(inputs, view), trusted), labels, view.validation_labels)

    def _placed(self, inputs: Tensor, view: View) -> Tensor:
        return inputs.flatten(1) if self.space == "pixels" else features_and_outputs(view.model, inputs)[0]

    def _nearest(self, distances: Tensor, labels: Tensor, trusted: Tensor) -> Tensor:
        """Return the k-th smallest finite distance in each row, to examples of the row's label."""
        alike = (labels[:, None] == trusted) & distances.isfinite()
        alike = alike | (~alike.any(1, keepdim=True) & distances.isfinite())
        ordered = distances.masked_fill(~alike, float("inf")).sort(dim=1).values
        place = alike.sum(1).clamp(1, min(self.k, len(trusted))) - 1
        return ordered.gather(1, place[:, None])[:, 0]
