"""Detection by clustering activations."""

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

_ITERATIONS = 10


@dataclass(kw_only=True)
class Activation:
    """An example in its class's untrusted cluster is suspicious (Chen et al. 2018; not in Table 1).

    For each class, the features of the last batches and of Dval are divided by 2-means, starting from both
    sides of the first principal direction. The cluster with the larger share of Dval, of centre a, is
    trusted, the other, of centre b, is not: `s(x) = ‖h(x) - a‖ - ‖h(x) - b‖`. Chen et al. reduce the
    features by independent components and judge a cluster by its size; a stream has a trusted set instead.

    Shapes: inputs `(batch, *input)`, labels `(batch,)`; scores `(batch,)`. Cost: one forward pass of the
    window and of Dval, one singular value decomposition and ten iterations per class.

    Args:
        window: number of earlier batches that are clustered together with this one.
    """

    needs_classes: ClassVar[str] = "it clusters each class"

    window: int = 5

    def __post_init__(self) -> None:
        self._window = Window(self.window)

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return the ranks of the distances' differences among those of Dval."""
        inputs, labels = batch.inputs, batch.labels
        if len(self._window):
            inputs = torch.cat([inputs, self._window.inputs.to(inputs)])
            labels = torch.cat([labels, self._window.labels.to(labels)])
        seen = features(view.model, inputs)
        trusted, known = features(view.model, pixels(view.validation_inputs)), view.validation_labels
        count = len(batch.labels)
        scores, reference = seen.new_zeros(count), seen.new_zeros(len(known))
        for label in sorted(set(batch.labels.tolist())):
            own, safe = seen[labels == label], trusted[known == label]
            centres = trusted_first(torch.cat([own, safe]).double(), len(safe))
            for found, rows, wanted in ((scores, seen[:count], batch.labels), (reference, trusted, known)):
                apart = torch.cdist(rows[wanted == label].double(), centres)
                found[wanted == label] = (apart[:, 0] - apart[:, 1]).to(found)
        self._window.add(batch)
        present = torch.isin(known, batch.labels)
        return among(reference[present] if present.any() else reference, scores)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the last batches."""
        return self._window.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._window.load_state_dict(state)


def trusted_first(rows: Tensor, trusted: int) -> Tensor:
    """Return the two centres of 2-means, first that of the cluster with the larger share of trusted rows.

    Args:
        rows: `(n, width)`; the last `trusted` of them are trusted.
        trusted: number of trusted rows.

    >>> rows = torch.tensor([[9.0, 0.0], [9.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    >>> trusted_first(rows, 2)
    tensor([[0.0000, 0.5000],
            [9.0000, 0.5000]])
    """
    mean = rows.mean(0)
    _, sizes, directions = torch.linalg.svd(rows - mean, full_matrices=False)
    apart = directions[0] * sizes[0] / len(rows) ** 0.5
    centres = torch.stack([mean - apart, mean + apart])
    for _ in range(_ITERATIONS):
        first = torch.cdist(rows, centres).argmin(1) == 0
        if first.all() or not first.any():
            break
        centres = torch.stack([rows[first].mean(0), rows[~first].mean(0)])
    first = torch.cdist(rows, centres).argmin(1) == 0
    shares = [float(side[len(rows) - trusted :].sum()) / max(1, int(side.sum())) for side in (first, ~first)]
    return centres if shares[0] >= shares[1] else centres.flip(0)
