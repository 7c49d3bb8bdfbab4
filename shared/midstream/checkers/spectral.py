"""Detection by spectral signatures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from midstream.mathematics.pixels import pixels
from midstream.players.features import features
from midstream.players.interface import Batch, View
from midstream.players.suspicion import Suspicion, among
from midstream.players.window import Window


@dataclass(kw_only=True)
class Spectral:
    """An example far out along its class's main direction is suspicious (Tran et al. 2018; not in Table 1).

    For each class c, `s(x) = ⟨h(x) - μ_c, v_c⟩²` with the features h of the live model and v_c the first
    right singular vector of the class's centred features. Tran et al. take mean and direction from the whole
    training set. In a stream they are taken from the examples of the last batches and of Dval.

    Shapes: inputs `(batch, *input)`, labels `(batch,)`; scores `(batch,)`. Cost: one forward pass of the
    window and of Dval, and one singular value decomposition per class.

    Args:
        window: number of earlier batches that mean and direction are taken from, besides this one.
    """

    needs_classes: ClassVar[str] = "it compares examples of a class"

    window: int = 5

    def __post_init__(self) -> None:
        self._window = Window(self.window)

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return the ranks of the squared distances among those of Dval."""
        inputs, labels = batch.inputs, batch.labels
        if len(self._window):
            inputs = torch.cat([inputs, self._window.inputs.to(inputs)])
            labels = torch.cat([labels, self._window.labels.to(labels)])
        seen = features(view.model, inputs)
        trusted, known = features(view.model, pixels(view.validation_inputs)), view.validation_labels
        count = len(batch.labels)
        scores, reference = seen.new_zeros(count), seen.new_zeros(len(known))
        for label in sorted(set(batch.labels.tolist())):
            ours = torch.cat([seen[labels == label], trusted[known == label]]).double()
            mean = ours.mean(0)
            direction = torch.linalg.svd(ours - mean, full_matrices=False).Vh[0]
            for found, rows, wanted in ((scores, seen[:count], batch.labels), (reference, trusted, known)):
                along = (rows[wanted == label].double() - mean) @ direction
                found[wanted == label] = along.square().to(found)
        self._window.add(batch)
        present = torch.isin(known, batch.labels)
        return among(reference[present] if present.any() else reference, scores)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the last batches."""
        return self._window.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._window.load_state_dict(state)
