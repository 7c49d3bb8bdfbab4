"""Detection by the distance to the nearest trusted examples."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.players.interface import Batch, View
from midstream.players.scores.features import features_and_outputs
from midstream.players.scores.suspicion import Suspicion, among


@dataclass(kw_only=True)
class Knn:
    """An example far from Dval's of its class is suspicious (Deep k-NN, Peri et al. 2020; not in Table 1).

    `s(x, y) = ‖f(x) - f(z)‖` with z the k-th nearest example of label y in Dval. Peri et al. look at the
    labels of the neighbours within the batch. Here the neighbours are trusted, so the distance to those of
    the own label finds moved and relabelled examples. A class with fewer than k examples takes its farthest
    one, a class without any the k-th nearest of all classes.

    - `space=whitened`: `f(x) = (C + λI)^(-1/2) x` with the covariance C of the reference's pixels, the metric
      of Mahalanobis. Where clean images hardly vary, a small change counts much. One half of Dval is the
      reference, the other half is scored by it as the batch is, so that both are new to C.
    - `space=pixels`: `f(x) = x`, and `space=features`: what the last linear layer receives. All of Dval is
      the reference, and each of its examples is scored without itself.

    Shapes: inputs `(batch, *input)`, labels `(batch,)`; scores `(batch,)`, in pixel units for
    `space=pixels`. Cost: (batch + m) × m distances for m examples in Dval, for `features` one forward
    pass of both, and for `whitened` one singular value decomposition of the reference in a game.

    Args:
        k: which neighbour, counted from 1.
        space: where distances are measured.
        floor: λ, in squared pixel units: the variance that is taken for noise.
    """

    k: int = 3
    space: Literal["whitened", "pixels", "features"] = "whitened"
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k counts neighbours from 1, not {self.k}")
        if not self.floor > 0:
            raise ValueError(f"floor is a variance above 0, not {self.floor}")
        self._decomposed: tuple[Tensor, Tensor, Tensor] | None = None

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return the ranks of the distances among those within Dval."""
        inputs, labels = pixels(view.validation_inputs), view.validation_labels
        with torch.no_grad():
            if self.space == "whitened" and len(labels) > 1:
                trusted = self.score(inputs[1::2], labels[1::2], view)
            else:
                placed = self._placed(inputs, view)
                apart = torch.cdist(placed, placed).fill_diagonal_(float("inf"))
                trusted = self._nearest(apart, labels, labels)
            return among(trusted, self.score(batch.inputs, batch.labels, view))

    def score(self, inputs: Tensor, labels: Tensor, view: View) -> Tensor:
        """Return the distance of each example to the k-th nearest one of its label in the reference."""
        known, of = pixels(view.validation_inputs), view.validation_labels
        if self.space == "whitened":
            known, of = known[0::2], of[0::2]
        apart = torch.cdist(self._placed(inputs, view), self._placed(known, view))
        return self._nearest(apart, labels, of)

    def _placed(self, inputs: Tensor, view: View) -> Tensor:
        if self.space == "features":
            return features_and_outputs(view.model, inputs)[0]
        flat = inputs.flatten(1)
        if self.space == "pixels":
            return flat
        mean, directions, deviations = self._whitening(pixels(view.validation_inputs)[0::2].flatten(1))
        along = (flat - mean) @ directions
        rest = flat - mean - along @ directions.T
        return torch.cat([along / deviations, rest / self.floor**0.5], dim=1)

    def _whitening(self, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reference's mean, its principal directions, and the deviations along them."""
        if self._decomposed is None:
            mean = reference.double().mean(0)
            _, sizes, directions = torch.linalg.svd(reference.double() - mean, full_matrices=False)
            deviations = (sizes.square() / len(reference) + self.floor).sqrt()
            self._decomposed = mean.to(reference), directions.T.to(reference), deviations.to(reference)
        return self._decomposed

    def _nearest(self, distances: Tensor, labels: Tensor, trusted: Tensor) -> Tensor:
        """Return the k-th smallest finite distance in each row, to examples of the row's label."""
        alike = (labels[:, None] == trusted) & distances.isfinite()
        alike = alike | (~alike.any(1, keepdim=True) & distances.isfinite())
        ordered = distances.masked_fill(~alike, float("inf")).sort(dim=1).values
        place = alike.sum(1).clamp(1, min(self.k, len(trusted))) - 1
        return ordered.gather(1, place[:, None])[:, 0]
