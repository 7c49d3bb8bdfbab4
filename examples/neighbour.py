"""A defender of your own, in one file: every image is drawn towards a trusted one that has its label.

An image that says 3 and begins to look like a 4 is moved back to the 3 that it is most like, as far as the
budget allows. Like the attacker of disguise.py it asks for no gradient.

midstream play --dataset digits --attacker level-1 --defender examples/neighbour.py:Neighbour
"""

import torch
from torch import Tensor

from midstream import Batch, View, pixels


class Neighbour:
    """Moves each image to the mean of the nearest validation images of its label.

    Args:
        count: how many of them.
    """

    def __init__(self, *, count: int = 1) -> None:
        self.count = count

    def perturb(self, batch: Batch, view: View) -> Tensor:
        images, labels = pixels(view.validation_inputs), view.validation_labels
        distances = torch.cdist(batch.inputs.flatten(1), images.flatten(1))
        distances[batch.labels[:, None] != labels] = torch.inf
        nearest = distances.topk(self.count, largest=False).indices
        return images[nearest].mean(1) - batch.inputs  # the host shortens it to the budget
