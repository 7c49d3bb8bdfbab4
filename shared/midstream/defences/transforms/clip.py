"""Clipping: limit each pixel to the range of its class."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from midstream.mathematics.inputs.pixels import pixels
from midstream.players.interface import Batch, View


def class_ranges(inputs: Tensor, labels: Tensor, classes: int, width: float) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest value allowed for each pixel in each class, `μ ∓ width·s`.

    μ and s are the mean and the standard deviation of the pixel over the examples of the class. A class
    without examples has infinite bounds.

    Args:
        inputs: `(examples, *input)`.
        labels: their classes, `(examples,)`.
        classes: number of classes.
        width: half width of the range, in standard deviations.

    Returns:
        Two tensors `(classes, *input)`.

    >>> low, high = class_ranges(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 0]), 2, 1.0)
    >>> low.flatten().tolist(), high.flatten().tolist()
    ([0.0, -inf], [2.0, inf])
    """
    low = inputs.new_full((classes, *inputs.shape[1:]), -torch.inf)
    high = -low
    for label in sorted(set(labels.tolist())):
        of_class = inputs[labels == label]
        mean, deviation = of_class.mean(0), of_class.std(0, correction=0)
        low[label], high[label] = mean - width * deviation, mean + width * deviation
    return low, high


@dataclass(kw_only=True)
class Clip:
    """Clip each pixel to its class's range, `μ ∓ width·s` (after Steinhardt et al. 2017; not in Table 1).

    μ and s are taken over the validation examples with the same label. Data sanitization drops examples far
    from the centroid of their class as poisoned (Steinhardt et al. 2017; Koh et al. 2022). In a stream, this
    defence does not drop an example but moves it to the nearest point of the set accepted as clean. The set
    is a box instead of their sphere and slab.

    Args:
        width: half width of the range, in standard deviations of the pixel.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.width < math.inf:
            raise ValueError(f"width is in standard deviations, finite and at least 0, not {self.width}")

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the perturbations that clip the pixels to their ranges."""
        images, labels = pixels(view.validation_inputs), view.validation_labels
        classes = 1 + int(max(labels.max(), batch.labels.max()))
        low, high = class_ranges(images, labels, classes, self.width)
        return batch.inputs.clamp(low[batch.labels], high[batch.labels]) - batch.inputs
